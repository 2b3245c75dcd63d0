package broker

import (
	"slices"

	"github.com/claudemesh/claudemesh/wire"
)

// The functions of this file answer questions of protocol v1 about things that this broker does
// not keep: the answers are empty. Some clients ask at each start and wait for the answer.
// Requests that would change such things are refused as unknown.

// nothing returns a handler whose answers are the same for everybody.
func nothing(answers ...func(reqID string) any) func(*conn, *wire.Frame) error {
	return func(c *conn, frame *wire.Frame) error {
		for _, answer := range answers {
			c.send(answer(frame.ReqID))
		}
		return nil
	}
}

var (
	noSkills = nothing(func(id string) any { return wire.SkillList{Type: wire.TypeSkillList, Skills: []struct{}{}, ReqID: id} })
	noSkill  = nothing(func(id string) any { return wire.SkillData{Type: wire.TypeSkillData, ReqID: id} })
	noTopics = nothing(func(id string) any {
		return wire.TopicList{Type: wire.TypeTopicListResponse, Topics: []struct{}{}, ReqID: id}
	})
	noTasks = nothing(func(id string) any { return wire.TaskList{Type: wire.TypeTaskList, Tasks: []struct{}{}, ReqID: id} })
	// Daemons of protocol v1 wait for the second of each two, commands for the first.
	noStates = nothing(
		func(id string) any { return wire.StateList{Type: wire.TypeStateList, Entries: []struct{}{}, ReqID: id} },
		func(id string) any { return wire.StateValue{Type: wire.TypeStateValue, ReqID: id} })
	noMemories = nothing(
		func(id string) any {
			return wire.MemoryResults{Type: wire.TypeMemoryResults, Memories: []struct{}{}, ReqID: id}
		},
		func(id string) any {
			return wire.MemoryRecallResult{Type: wire.TypeMemoryRecallResult, Matches: []struct{}{}, ReqID: id}
		})
)

// getState answers that a state was never set.
func (c *conn) getState(frame *wire.Frame) error {
	key, err := wire.DecodeGetState(frame)
	if err != nil {
		return err
	}
	c.send(wire.StateResult{Type: wire.TypeStateResult, Key: key, ReqID: frame.ReqID})
	c.send(wire.StateValue{Type: wire.TypeStateValue, ReqID: frame.ReqID})
	return nil
}

// meshInfo answers with an overview of the mesh, as far as the asker may see it.
func (c *conn) meshInfo(frame *wire.Frame) error {
	r := c.room
	info := wire.MeshInfoResult{
		Type: wire.TypeMeshInfoResult, Mesh: r.id, Groups: []string{}, StateKeys: []string{}, Streams: []string{},
		Tables: []string{}, Collections: []string{}, YourName: c.name, YourGroups: []wire.Group{}, ReqID: frame.ReqID,
	}
	r.mu.RLock()
	for _, p := range r.presences.All() {
		if !p.Visible && p.MemberKey != c.member {
			continue
		}
		info.Peers++
		for _, g := range p.Groups {
			info.Groups = append(info.Groups, "@"+g.Name)
		}
	}
	if c.present != nil {
		info.YourGroups = orEmpty(c.present.Groups)
	}
	r.mu.RUnlock()
	slices.Sort(info.Groups)
	info.Groups = slices.Compact(info.Groups)
	c.send(info)
	return nil
}
