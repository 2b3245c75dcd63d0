package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// whoamiTimeout limits how long the broker of a mesh may take to answer.
const whoamiTimeout = 5 * time.Second

// self describes the user in one mesh. It is an element of whoami --json.
type self struct {
	Mesh        string       `json:"mesh"`
	MeshID      string       `json:"meshId"`
	Broker      string       `json:"brokerUrl"`
	Name        string       `json:"name"` // "" if unknown
	Role        string       `json:"role,omitempty"`
	MemberID    string       `json:"memberId"`
	Pubkey      wire.Key     `json:"pubkey"`
	Fingerprint string       `json:"fingerprint"`
	Host        string       `json:"host"`
	ConfigDir   string       `json:"configDir"`
	Session     *selfSession `json:"session,omitempty"`
	Problem     string       `json:"problem,omitempty"` // why the broker did not return name and role
}

// selfSession is the Claude Code session that runs whoami.
type selfSession struct {
	ID     string `json:"id"`
	Name   string `json:"name,omitempty"`
	Pubkey string `json:"pubkey,omitempty"` // "" if it is not in the mesh
}

func (a *app) whoamiCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show who you are in your meshes",
		Example: `  claudemesh whoami
  claudemesh whoami --mesh team --json`,
		Long: `Show who you are in each mesh that you have joined, or only in the mesh of --mesh: your name and
role, your key and its fingerprint, this machine, and the session, if a Claude Code session runs the
command. The fingerprint is your half of every safety number that 'claudemesh verify' shows for the mesh.
If a broker is unreachable, whoami shows what this machine knows, and the problem.
--json: an array of {mesh, meshId, brokerUrl, name, role?, memberId, pubkey, fingerprint, host, configDir,
session? {id, name?, pubkey?}, problem?}.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.whoami(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) whoami(ctx context.Context, asJSON bool) error {
	meshes, err := a.chosenMeshes()
	if err != nil {
		return err
	}
	session, live := a.callingSession(ctx)
	list := make([]self, len(meshes))
	for i := range meshes {
		list[i] = a.selfIn(ctx, &meshes[i], session, live)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if asJSON {
		return a.printJSON(list)
	}
	for i := range list {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		if err := a.table(list[i].rows()); err != nil {
			return err
		}
	}
	return nil
}

// chosenMeshes returns the mesh of --mesh, or all joined meshes. It fails if there are none.
func (a *app) chosenMeshes() ([]peer.Mesh, error) {
	if a.mesh != "" {
		m, err := a.joined()
		return []peer.Mesh{m}, err
	}
	if err := a.repair(); err != nil {
		return nil, err
	}
	config, err := peer.LoadConfig(a.dir)
	if err != nil {
		return nil, err
	}
	if len(config.Meshes) == 0 {
		_, err = config.Find("")
	}
	for i := range config.Meshes {
		if a.broker != "" {
			config.Meshes[i].BrokerURL = a.broker
		}
	}
	return config.Meshes, err
}

// callingSession returns the id of the session that runs the command, or "", and the
// session's status from the daemon, if the daemon runs.
func (a *app) callingSession(ctx context.Context) (id string, live local.SessionStatus) {
	id, err := identity.ParseSessionID(os.Getenv(lineage.EnvSession))
	if err != nil {
		return "", live
	}
	sessions, err := liveSessions(ctx, a.dir)
	if err != nil {
		fmt.Fprintln(a.err, "warning: the name of the session is unknown; ask the daemon:", printable(err.Error()))
	}
	return id, sessions[id]
}

func (a *app) selfIn(ctx context.Context, m *peer.Mesh, session string, live local.SessionStatus) self {
	own := m.Member.Public()
	s := self{
		Mesh: m.Slug, MeshID: m.MeshID, Broker: m.BrokerURL, MemberID: m.MemberID,
		Pubkey: own, Fingerprint: identity.Fingerprint(m.MeshID, own), ConfigDir: string(a.dir),
	}
	s.Host, _ = os.Hostname() // "" if unknown
	if session != "" {
		s.Session = &selfSession{ID: session, Name: live.Name}
		if key, err := a.sessionStore().Stored(m.Slug, session); err == nil {
			s.Session.Pubkey = key.Pair.Public().String()
		}
	}
	if err := a.askBroker(ctx, m, &s); err != nil {
		s.Problem = explain(err)
		s.Name = a.knownName(ctx, m)
	}
	return s
}

// askBroker asks the broker for the name and role that the other members see.
func (a *app) askBroker(ctx context.Context, m *peer.Mesh, s *self) error {
	ctx, cancel := context.WithTimeout(ctx, whoamiTimeout)
	defer cancel()
	w := a.waiting("connecting to the broker at " + oneLine(m.BrokerURL))
	client, err := a.dial(ctx, a.visitor(*m))
	w.done()
	if err != nil {
		return err
	}
	defer client.Close()
	members, err := client.ListMembers(ctx)
	for i := range members {
		if members[i].Pubkey == s.Pubkey {
			s.Name, s.Role = members[i].DisplayName, members[i].Role
		}
	}
	return err
}

// knownName returns the last name that this machine has seen for the user's own member, or "".
func (a *app) knownName(ctx context.Context, m *peer.Mesh) string {
	store, err := inbox.Open(ctx, a.dir)
	if err != nil {
		return ""
	}
	defer store.Close()
	name, err := store.Contacts().Name(ctx, m.MeshID, m.Member.Public())
	if err != nil {
		return ""
	}
	return name
}

func (s *self) rows() [][]string {
	name, role := s.Name, s.Role
	if name == "" {
		name = "unknown"
	}
	if s.Problem != "" {
		role = "unknown: " + s.Problem
	}
	rows := [][]string{
		{"member", name}, {"role", role},
		{"mesh", s.Mesh + " (" + s.MeshID + ")"}, {"broker", s.Broker},
		{"key", s.Pubkey.String()}, {"fingerprint", s.Fingerprint},
		{"machine", strings.TrimSpace(s.Host)}, {"config", s.ConfigDir},
	}
	if in := s.Session; in != nil {
		text := in.ID
		if in.Name != "" {
			text = in.Name + " (" + in.ID + ")"
		}
		if in.Pubkey == "" {
			text += ", which is not in this mesh"
		} else {
			text += ", key " + in.Pubkey[:8]
		}
		rows = append(rows, []string{"session", text})
	}
	return rows
}
