package caddymesh

import (
	"time"

	"go.uber.org/zap/zapcore"
)

const (
	// logEvery and logFirst limit how often the same message is logged: the first so many in
	// so long. While the storage is away, every request would log the same.
	logEvery = 10 * time.Second
	logFirst = 10
)

// limitLogs returns a core that logs the same message not too often, except at level debug: whoever
// turns that on looks for one line among many.
func limitLogs(core zapcore.Core) zapcore.Core {
	return limitedCore{core, zapcore.NewSamplerWithOptions(core, logEvery, logFirst, 0)}
}

// limitedCore logs debug messages through Core and others through limits.
type limitedCore struct {
	zapcore.Core
	limits zapcore.Core
}

// With implements zapcore.Core.
func (c limitedCore) With(fields []zapcore.Field) zapcore.Core {
	return limitedCore{c.Core.With(fields), c.limits.With(fields)}
}

// Check implements zapcore.Core.
func (c limitedCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Level < zapcore.InfoLevel {
		return c.Core.Check(entry, checked)
	}
	return c.limits.Check(entry, checked)
}
