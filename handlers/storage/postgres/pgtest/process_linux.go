package pgtest

import "syscall"

// dieWithUs has the kernel end the server when a test binary is killed.
func dieWithUs(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGQUIT }
