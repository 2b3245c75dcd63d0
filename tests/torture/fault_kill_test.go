package torture

import "sync"

// killBroker kills the broker and starts it again.
func killBroker(w *world) {
	w.serve()
	w.populate()
	w.load()
	w.repeatWithoutOne(func(int) {
		w.killBroker()
		w.broker.Start()
	})
}

// killPostgres kills all processes of Postgres and starts it again.
func killPostgres(w *world) {
	w.ledger.mayForget()
	w.serve()
	w.populate()
	w.load()
	w.repeatWithoutOne(func(int) {
		w.pg.Kill()
		w.pg.Restart()
		w.awaitReadiness(true)
	})
}

// killAll kills the broker, its database and the daemons of two users, and starts them
// again in any order.
func killAll(w *world) {
	w.serve()
	w.populate()
	machines := []*machine{w.addMachine(), w.addMachine()}
	w.load()
	w.repeat(func(n int) {
		w.killBroker()
		w.pg.Kill()
		var killed sync.WaitGroup
		for _, m := range machines {
			killed.Go(m.kill)
		}
		killed.Wait()
		if n%2 == 0 { // the broker must wait for its database
			w.broker.Launch()
			w.pg.Restart()
		} else {
			w.pg.Restart()
			w.broker.Launch()
		}
		for _, m := range machines {
			m.start()
		}
		w.awaitReadiness(true)
	})
}
