//go:build !linux

package stack

import "syscall"

func diesWithParent() *syscall.SysProcAttr { return nil }
