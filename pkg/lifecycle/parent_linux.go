package lifecycle

import "syscall"

// DieWithParent has the kernel send sig to the child when the thread that starts it ends. The starting goroutine must therefore be locked to its thread for
// as long as the child shall live.
func DieWithParent(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }
