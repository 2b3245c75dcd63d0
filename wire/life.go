package wire

// Types of the answers to requests for features that this broker doesn't have:
// skills, topics, tasks, shared state and memories.
const (
	TypeSkillList          = "skill_list"
	TypeSkillData          = "skill_data"
	TypeMeshInfoResult     = "mesh_info_result"
	TypeStateResult        = "state_result"
	TypeStateList          = "state_list"
	TypeStateValue         = "state_value"
	TypeMemoryResults      = "memory_results"
	TypeMemoryRecallResult = "memory_recall_result"
	TypeTopicListResponse  = "topic_list_response"
	TypeTaskList           = "task_list"
)

// The lists in these messages are always empty and never nil.
type (
	// SkillList answers list_skills.
	SkillList struct {
		Type   string     `json:"type"`
		Skills []struct{} `json:"skills"`
		ReqID  string     `json:"_reqId,omitempty"`
	}

	// SkillData answers get_skill.
	SkillData struct {
		Type  string    `json:"type"`
		Skill *struct{} `json:"skill"` // nil
		ReqID string    `json:"_reqId,omitempty"`
	}

	// StateResult answers get_state.
	StateResult struct {
		Type      string    `json:"type"`
		Key       string    `json:"key"`
		Value     *struct{} `json:"value"`     // nil
		UpdatedBy string    `json:"updatedBy"` // ""
		UpdatedAt string    `json:"updatedAt"` // ""
		ReqID     string    `json:"_reqId,omitempty"`
	}

	// StateList answers list_state.
	StateList struct {
		Type    string     `json:"type"`
		Entries []struct{} `json:"entries"`
		ReqID   string     `json:"_reqId,omitempty"`
	}

	// StateValue also answers get_state and list_state.
	StateValue struct {
		Type  string   `json:"type"`
		State struct{} `json:"state"`
		ReqID string   `json:"_reqId,omitempty"`
	}

	// MemoryResults answers recall.
	MemoryResults struct {
		Type     string     `json:"type"`
		Memories []struct{} `json:"memories"`
		ReqID    string     `json:"_reqId,omitempty"`
	}

	// MemoryRecallResult also answers recall.
	MemoryRecallResult struct {
		Type    string     `json:"type"`
		Matches []struct{} `json:"matches"`
		ReqID   string     `json:"_reqId,omitempty"`
	}

	// TopicList answers topic_list.
	TopicList struct {
		Type   string     `json:"type"`
		Topics []struct{} `json:"topics"`
		ReqID  string     `json:"_reqId,omitempty"`
	}

	// TaskList answers list_tasks.
	TaskList struct {
		Type  string     `json:"type"`
		Tasks []struct{} `json:"tasks"`
		ReqID string     `json:"_reqId,omitempty"`
	}
)

// MeshInfoResult answers mesh_info. Its lists are never nil. The fields for features
// that this broker doesn't have are empty.
type MeshInfoResult struct {
	Type        string   `json:"type"`
	Mesh        ID       `json:"mesh"`
	Peers       int      `json:"peers"`
	Groups      []string `json:"groups"` // as targets, such as "@dev"
	StateKeys   []string `json:"stateKeys"`
	MemoryCount int      `json:"memoryCount"`
	FileCount   int      `json:"fileCount"`
	Tasks       struct {
		Open    int `json:"open"`
		Claimed int `json:"claimed"`
		Done    int `json:"done"`
	} `json:"tasks"`
	Streams     []string `json:"streams"`
	Tables      []string `json:"tables"`
	Collections []string `json:"collections"`
	YourName    string   `json:"yourName"`
	YourGroups  []Group  `json:"yourGroups"`
	ReqID       string   `json:"_reqId,omitempty"`
}

// DecodeGetState reads a get_state and returns the key.
func DecodeGetState(frame *Frame) (key string, err error) {
	f := fields{Frame: frame}
	key = f.need("key")
	return key, f.err
}
