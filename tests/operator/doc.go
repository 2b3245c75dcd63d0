// Package operator has the tests of what an operator of a broker relies on, and that need
// more than the module of the broker does: an ACME server, Prometheus. It is a module of its
// own, so that nobody who builds the broker downloads those.
package operator
