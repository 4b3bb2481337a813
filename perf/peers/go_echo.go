// SPDX-License-Identifier: Apache-2.0
// An echo server in Go: a goroutine per connection, one thread for all of them (sockets have TCP_NODELAY by default).
//
//	build/release/perf/peer_go_echo PORT
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
)

func echo(peer net.Conn) {
	defer peer.Close()
	bytes := make([]byte, 65536)
	for {
		size, err := peer.Read(bytes)
		if err != nil {
			return
		}
		if _, err := peer.Write(bytes[:size]); err != nil {
			return
		}
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: peer_go_echo PORT")
		os.Exit(1)
	}
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp4", "127.0.0.1:"+os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer_go_echo:", err)
		os.Exit(1)
	}
	fmt.Println("listening")
	for {
		peer, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "peer_go_echo:", err)
			os.Exit(1)
		}
		go echo(peer)
	}
}
