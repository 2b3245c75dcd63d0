package caddymesh

import "runtime/debug"

const modulePath = "github.com/claudemesh/claudemesh"

// version is set by the linker (-X) in builds from a checkout.
var version string

// Version returns the version of this module: the linker's or, in a Caddy that xcaddy built,
// the version in the build's module list.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == modulePath {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == modulePath {
			if dep.Replace != nil && dep.Replace.Version != "" {
				return dep.Replace.Version
			}
			return dep.Version
		}
	}
	return "unknown"
}
