// Package operator tests what operators of a broker rely on, with dependencies that the broker
// itself doesn't need: an ACME server and Prometheus. It is a separate module, so that building the
// broker doesn't download them.
package operator
