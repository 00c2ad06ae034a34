package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTicks is USER_HZ, which Linux fixes at 100 for what /proc says.
const clockTicks = 100

// cpuOf gives the CPU time that a process and the children it has waited for have used.
func cpuOf(pid int) time.Duration {
	fields := statOf(pid)
	if len(fields) < 15 {
		return 0 // it has ended
	}
	var ticks int64
	for _, n := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime, counted after the name
		v, err := strconv.ParseInt(fields[n], 10, 64)
		if err != nil {
			return 0
		}
		ticks += v
	}
	return time.Duration(ticks) * time.Second / clockTicks
}

// statOf gives the fields of /proc/<pid>/stat from the third on: the second, a name, may hold spaces.
func statOf(pid int) []string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	text := string(raw)
	return strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
}

// childrenOf gives the running children of a process.
func childrenOf(pid int) []int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var children []int
	for _, path := range stats {
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if fields := statOf(child); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			children = append(children, child)
		}
	}
	return children
}

// treeCPU is cpuOf of a process and its running children: what a Postgres server uses.
func treeCPU(pid int) time.Duration {
	sum := cpuOf(pid)
	for _, child := range childrenOf(pid) {
		sum += cpuOf(child)
	}
	return sum
}

// valueOf reads a value of a "Name: value unit" file of /proc; 0 if it is not there.
func valueOf(pid int, file, name string) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		rest, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		v, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			return 0
		}
		return v
	}
	return 0
}

// residentOf gives the resident memory of a process in bytes.
func residentOf(pid int) int64 { return valueOf(pid, "status", "VmRSS") << 10 }

// peakOf gives the most resident memory that a process ever had, in bytes.
func peakOf(pid int) int64 { return valueOf(pid, "status", "VmHWM") << 10 }

// writtenBy gives the bytes that a process made the system write to storage.
func writtenBy(pid int) int64 { return valueOf(pid, "io", "write_bytes") }

// treeMemory gives the memory of a process and its children, shared pages counted once.
func treeMemory(pid int) (sum int64) {
	for _, p := range append(childrenOf(pid), pid) {
		sum += valueOf(p, "smaps_rollup", "Pss") << 10
	}
	return sum
}

// peaks samples resident memory until it is stopped.
type peaks struct {
	cancel context.CancelFunc
	done   chan struct{}
	each   map[string]int64
	ours   int64 // most of the sum over the processes that are ours
}

// watchMemory samples the processes by name four times a second; ours says which count towards the sum.
func watchMemory(pids map[string]int, ours map[string]bool) *peaks {
	ctx, cancel := context.WithCancel(context.Background())
	p := &peaks{cancel: cancel, done: make(chan struct{}), each: map[string]int64{}}
	go func() {
		defer close(p.done)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			var sum int64
			for name, pid := range pids {
				rss := residentOf(pid)
				p.each[name] = max(p.each[name], rss)
				if ours[name] {
					sum += rss
				}
			}
			p.ours = max(p.ours, sum)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return p
}

func (p *peaks) stop() {
	p.cancel()
	<-p.done
}
