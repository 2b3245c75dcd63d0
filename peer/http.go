package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/visible/alike"
	"github.com/claudemesh/claudemesh/wire"
)

// HTTP calls the broker's HTTP routes.
type HTTP struct {
	BrokerURL string       // of the WebSocket, e.g. wss://mesh.example.org/ws
	Client    *http.Client // nil: one that honours the proxies of the environment
}

// HTTPError is an answer that reports a failure.
type HTTPError struct {
	Status  int
	Code    string // the broker's error code, "" if the body was not the broker's
	Message string
	// RetryAfter is how long the server asks its clients to wait; 0 if it does not say.
	RetryAfter time.Duration
}

func (e *HTTPError) Error() string {
	advice := map[string]string{
		"invite_not_found":     "the broker does not know this invite; ask for a new one",
		"not_found":            "the broker does not know this invite; ask for a new one",
		"invite_revoked":       "this invite was revoked; ask for a new one",
		"revoked":              "this invite was revoked; ask for a new one",
		"invite_expired":       "this invite has expired; ask for a new one",
		"expired":              "this invite has expired; ask for a new one",
		"invite_exhausted":     "this invite is used up; ask for a new one",
		"exhausted":            "this invite is used up; ask for a new one",
		"capacity":             "this mesh has as many members as its broker allows; have one removed, or ask for a higher limit",
		"invite_bad_signature": "this invite is damaged; ask for the link again",
		"bad_signature":        "this link is damaged or belongs to another invite; ask for the link again",
		"timestamp_skew":       "this machine's clock differs too much from the broker's; correct it",
		"mesh_not_found":       "the broker does not know this mesh; is it the right broker?",
	}[e.Code]
	switch {
	case advice != "":
		return advice
	case e.BadName():
		return e.Message + "; choose another with --name"
	case e.Message != "":
		return fmt.Sprintf("%s (%s)", e.Message, e.Code)
	case e.Status == http.StatusBadGateway, e.Status == http.StatusGatewayTimeout:
		return fmt.Sprintf("a proxy answers at this URL, but it can't reach the broker behind it (HTTP %d)", e.Status)
	case e.Code != "":
		return fmt.Sprintf("the broker refused: %s (HTTP %d)", e.Code, e.Status)
	case e.Status == http.StatusMisdirectedRequest:
		return "the server at this URL does not serve a broker under this host name (HTTP 421)"
	case e.Status == http.StatusNotFound:
		return "there is no claudemesh broker at this URL (HTTP 404)"
	}
	return fmt.Sprintf("the broker answered with HTTP %d", e.Status)
}

// BadName reports whether the broker refused the name of a new member or mesh. Nothing was
// used up; the caller may try another name.
func (e *HTTPError) BadName() bool { return e.Code == codeBadName || e.Code == codeNameTaken }

const (
	codeBadName   = "bad_name"
	codeNameTaken = "name_taken"
)

// CheckName trims the spaces around a name and returns it. If no broker accepts the name
// for a new member, it returns an *HTTPError whose BadName is true.
func CheckName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if why := alike.NoNewName(name); why != "" {
		return "", &HTTPError{Code: codeBadName, Message: "a name can't " + why}
	}
	if len(name) > wire.MaxNameLen {
		return "", &HTTPError{Code: codeBadName, Message: fmt.Sprintf("a name can have at most %d bytes", wire.MaxNameLen)}
	}
	return name, nil
}

// maxAnswer is how many bytes of an answer are read.
const maxAnswer = 1 << 20

// again is like once, for a request that the broker may serve twice. It retries while the
// broker is away.
func (h HTTP) again(ctx context.Context, method, path string, body, v any) error {
	return retry(ctx, passing, nil, func() error {
		_, err := h.once(ctx, method, path, body, v)
		return err
	})
}

// once sends a request and decodes the JSON answer into v. It returns the answer's headers,
// whose Date shows the broker's clock.
func (h HTTP) once(ctx context.Context, method, path string, body, v any) (http.Header, error) {
	u, err := siteURL(h.BrokerURL)
	if err != nil {
		return nil, err
	}
	u.Path += path
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("broker URL: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	client := h.Client
	if client == nil {
		client = brokerClient()
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reach the broker: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the broker's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return resp.Header, refusal(resp, answer)
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return resp.Header, fmt.Errorf("the server at %s isn't a claudemesh broker, or doesn't serve one under this host name (HTTP 200, %d bytes)",
			u, len(answer))
	}
	return resp.Header, nil
}

// refusal decodes an answer that reports a failure.
func refusal(resp *http.Response, answer []byte) *HTTPError {
	var body struct {
		wire.ErrorBody
		wire.Ready // of /health/ready
	}
	_ = json.Unmarshal(answer, &body) // a body that isn't JSON leaves it empty
	e := &HTTPError{resp.StatusCode, body.Error, body.Message, retryAfter(resp.Header)}
	if body.Reason != "" {
		e.Code, e.Message = body.Status, body.Reason
	}
	return e
}

// httpError is refusal for a response whose body has not been read yet.
func httpError(resp *http.Response) *HTTPError {
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // on error, the status says enough
	return refusal(resp, answer)
}

// CreateMesh creates a mesh that the key pair owns. Some brokers require the token. now is the
// time of this machine's clock, which may be wrong by up to a day.
func (h HTTP) CreateMesh(ctx context.Context, owner identity.KeyPair, slug, name, displayName, token string, now time.Time) (wire.CreateMeshResult, error) {
	body := wire.CreateMesh{
		Slug: slug, Name: name, DisplayName: displayName, Token: token,
		OwnerPubkey: owner.Public().String(),
	}
	begin := time.Now()
	var result wire.CreateMeshResult
	err := retry(ctx, refusedForNow, nil, func() error { // the broker accepts a signature once
		return signed(now.Add(time.Since(begin)), func(at time.Time) (http.Header, error) {
			body.Timestamp = at.UnixMilli()
			body.Signature = owner.Sign(wire.CreateMeshSigningText(slug, name, displayName, owner.Public(), body.Timestamp)).String()
			return h.once(ctx, http.MethodPost, "/meshes", body, &result)
		})
	})
	return result, err
}

// signed sends a request that is signed for the time now. If the broker answers that this is
// not the time, signed sends the request once more, signed for the time of the broker's clock.
func signed(now time.Time, send func(at time.Time) (http.Header, error)) error {
	header, err := send(now)
	var refused *HTTPError
	if !errors.As(err, &refused) || refused.Code != string(wire.CodeTimestampSkew) {
		return err
	}
	at, dateErr := http.ParseTime(header.Get("Date"))
	if dateErr != nil || at.Sub(now).Abs() > skewLimit {
		return err
	}
	_, err = send(at)
	return err
}

// Join joins a mesh with the proof of a v1 token.
func (h HTTP) Join(ctx context.Context, j wire.Join) (wire.JoinResult, error) {
	var result wire.JoinResult
	err := h.again(ctx, http.MethodPost, "/join", j, &result)
	return result, err
}

// Claim claims an invite link for a member key; claim is the link's claim key, and now is as for
// CreateMesh.
func (h HTTP) Claim(ctx context.Context, code string, claim, member identity.KeyPair, displayName string, now time.Time) (wire.ClaimResult, error) {
	body := wire.Claim{PeerPubkey: member.Public().String(), DisplayName: displayName}
	begin := time.Now()
	var result wire.ClaimResult
	err := retry(ctx, passing, nil, func() error {
		return signed(now.Add(time.Since(begin)), func(at time.Time) (http.Header, error) {
			body.Timestamp = at.UnixMilli()
			body.Signature = claim.Sign(wire.ClaimSigningText(code, member.Public(), body.Timestamp)).String()
			return h.once(ctx, http.MethodPost, "/invites/"+code+"/claim", body, &result)
		})
	})
	return result, err
}

// invite asks which mesh an invite link is for. It does not use up the invite.
func (h HTTP) invite(ctx context.Context, code string) (page wire.InvitePage, err error) {
	err = h.again(ctx, http.MethodGet, "/i/"+code, nil, &page)
	return page, err
}

// Health checks that the broker is alive. It returns how far the local clock is ahead of
// the broker's, to the second.
func (h HTTP) Health(ctx context.Context) (health wire.Health, skew time.Duration, err error) {
	header, err := h.once(ctx, http.MethodGet, "/health", nil, &health)
	if header != nil {
		skew = skewFrom(&http.Response{Header: header})
	}
	return health, skew, err
}

// Ready returns nil if the broker can accept messages. Otherwise it returns an *HTTPError
// whose Message gives the reason.
func (h HTTP) Ready(ctx context.Context) error {
	var ready wire.Ready
	_, err := h.once(ctx, http.MethodGet, "/health/ready", nil, &ready)
	return err
}
