// Package e2e tests the caddy binary from outside, as a child process: the
// commands, the example, and drills with kill -9, strace, reloads under load
// and floods.
//
// The binary is the one that the environment variable SIGNPOST_CADDY names;
// without it the tests build one. They need Linux: they read /proc, and the
// drill that watches the syncs needs strace. With -short the drills are brief.
package e2e
