//go:build !linux

package lifecycle

import "syscall"

// DieWithParent does nothing where the kernel has no such signal.
func DieWithParent(*syscall.SysProcAttr, syscall.Signal) {}
