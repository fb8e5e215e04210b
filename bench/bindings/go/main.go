// What the Go interface costs; see ../cpp.cpp.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	microvm "libmicrovm.dev/go"
)

type beside struct {
	N       int     `json:"n"`
	Ms      float64 `json:"ms"`
	Threads int     `json:"threads"`
	RssKib  int     `json:"rss_kib"`
}

type figures struct {
	Language   string    `json:"language"`
	ExecUs     []float64 `json:"exec_us"`
	RunMs      []float64 `json:"run_ms"`
	Concurrent beside    `json:"concurrent"`
}

var ctx = context.Background()

func need[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func ofStatus(name string) int {
	for _, line := range strings.Split(string(need(os.ReadFile("/proc/self/status"))), "\n") {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name+":" {
			return need(strconv.Atoi(words[1]))
		}
	}
	return 0
}

func execs(vm *microvm.Vm, count int) (us []float64) {
	options := &microvm.ExecOptions{Argv: []string{"true"}}
	need(vm.ExecCollect(ctx, options, nil)) // the first one also reads the program
	for i := 0; i < count; i++ {
		start := time.Now()
		need(vm.ExecCollect(ctx, options, nil))
		us = append(us, float64(time.Since(start).Nanoseconds())/1e3)
	}
	return us
}

func runs(rt *microvm.Runtime, image string, count int) (ms []float64) {
	for i := 0; i < count; i++ {
		start := time.Now()
		vm := need(rt.Run(ctx, image, nil))
		ms = append(ms, float64(time.Since(start).Nanoseconds())/1e6)
		check(vm.Terminate(ctx))
		check(vm.Close())
	}
	return ms
}

// A goroutine for each; all of the programs run before the first is let go.
func concurrent(vm *microvm.Vm, count int) beside {
	start := time.Now()
	var running, ended sync.WaitGroup
	running.Add(count)
	ended.Add(count)
	letGo := make(chan struct{})
	for i := 0; i < count; i++ {
		go func() {
			defer ended.Done()
			program := need(vm.Exec(ctx, &microvm.ExecOptions{Argv: []string{"cat"}, StdinOpen: true}))
			running.Done()
			<-letGo
			check(program.CloseStdin(ctx))
			if status := need(program.Wait(ctx)); status.Code != 0 {
				check(fmt.Errorf("a program has failed: %d", status.Code))
			}
			check(program.Close())
		}()
	}
	running.Wait()
	close(letGo)
	ended.Wait()
	// Go keeps the threads it has made.
	return beside{count, float64(time.Since(start).Nanoseconds()) / 1e6, ofStatus("Threads"), ofStatus("VmRSS")}
}

func main() {
	if len(os.Args) != 7 {
		check(fmt.Errorf("usage: bindings DATA_DIRECTORY VM IMAGE EXECS RUNS CONCURRENT"))
	}
	rt := need(microvm.Open(ctx, &microvm.RuntimeOptions{DataDir: os.Args[1]}))
	defer rt.Close()
	vm := need(rt.Attach(ctx, os.Args[2]))
	count := func(i int) int { return need(strconv.Atoi(os.Args[i])) }
	check(json.NewEncoder(os.Stdout).Encode(figures{
		Language: "go", ExecUs: execs(vm, count(4)), RunMs: runs(rt, os.Args[3], count(5)), Concurrent: concurrent(vm, count(6)),
	}))
}
