//go:build !linux

package pgcluster

import "syscall"

// dieWithParent does nothing where the kernel has no such signal: the next start finds and stops the orphan.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}
