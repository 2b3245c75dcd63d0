package cluster

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/claudemesh/claudemesh/wire"
)

// slowStore is a store in which this node owns every mesh. It answers a question about the owner
// or the nodes when the caller gives up or, if the test has opened it, at once.
type slowStore struct {
	Store
	open chan struct{}
}

const thisNode = 7

func (s slowStore) answer(ctx context.Context) error {
	select {
	case <-s.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (slowStore) Self() (int64, bool) { return thisNode, true }

func (s slowStore) Owner(ctx context.Context, _ wire.ID) (int64, bool, error) {
	return thisNode, true, s.answer(ctx)
}

func (s slowStore) Nodes(ctx context.Context) ([]Node, error) {
	return []Node{{ID: thisNode, Live: true}}, s.answer(ctx)
}

// TestCallerWhoGivesUp checks that callers who ask for the owner of a mesh at the same time get it,
// although one of them gives up.
func TestCallerWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := slowStore{open: make(chan struct{})}
		owners := NewOwners(store)
		mesh := wire.ID{1}
		impatient, giveUp := context.WithCancel(t.Context())
		gaveUp, patient := make(chan error, 1), make(chan error, 3)
		go func() {
			_, _, err := owners.Owner(impatient, mesh)
			gaveUp <- err
		}()
		synctest.Wait()
		for range cap(patient) {
			go func() {
				_, local, err := owners.Owner(t.Context(), mesh)
				if err == nil && !local {
					err = errors.New("the mesh belongs to another node")
				}
				patient <- err
			}()
		}
		synctest.Wait()
		giveUp()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller who gave up got %v", err)
		}
		synctest.Wait()
		close(store.open)
		for range cap(patient) {
			if err := <-patient; err != nil {
				t.Error(err)
			}
		}
	})
}
