package cluster

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Key is the identity of one start of a process. Other nodes know its public half from the
// database, so that there is no secret to configure.
type Key struct {
	certificate tls.Certificate
	public      ed25519.PublicKey
}

// NewKey makes the key of this start of the process.
func NewKey() (*Key, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the node's key: %w", err)
	}
	// TLS wants a certificate. Nodes look at the key in it and at nothing else.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "claudemesh node"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280: no end
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, fmt.Errorf("make the node's certificate: %w", err)
	}
	return &Key{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, public}, nil
}

// Public returns the key that other nodes verify.
func (k *Key) Public() ed25519.PublicKey { return k.public }

// protocol is the version of what nodes say to each other, as TLS negotiates it (ALPN).
const protocol = "claudemesh-node/1"

// config returns the TLS settings of both ends. verify judges the public key of the other end,
// which has proven that it holds the private one.
func (k *Key) config(verify func(ed25519.PublicKey) error) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{k.certificate},
		NextProtos:   []string{protocol},
		ClientAuth:   tls.RequireAnyClientCert,
		// No authority has signed the certificate: verify is the only judge. A resumed
		// session would not come with a certificate.
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if state.NegotiatedProtocol != protocol {
				return errors.New("not a claudemesh node of this version: it does not speak " + protocol)
			}
			if len(state.PeerCertificates) == 0 {
				return errors.New("no certificate")
			}
			key, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
			if !ok {
				return errors.New("the certificate has no ed25519 key, so it isn't a node's")
			}
			return verify(key)
		},
	}
}
