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

// limitLogs returns a core that logs the same message not too often.
func limitLogs(core zapcore.Core) zapcore.Core {
	return zapcore.NewSamplerWithOptions(core, logEvery, logFirst, 0)
}
