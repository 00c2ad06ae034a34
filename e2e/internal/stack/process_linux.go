package stack

import "syscall"

// diesWithParent makes the system kill the process when its parent is gone.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
