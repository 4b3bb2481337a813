// SPDX-License-Identifier: Apache-2.0
// An HTTP server on Go's net/http, one thread: `GET /` is `Hello, World!`, anything else is not found.
//
//	build/release/perf/peer_go_http PORT
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
)

var (
	hello     = []byte("Hello, World!")
	plainText = []string{"text/plain"}
)

func answer(to http.ResponseWriter, asked *http.Request) {
	if asked.Method != http.MethodGet || asked.URL.Path != "/" {
		http.NotFound(to, asked)
		return
	}
	to.Header()["Content-Type"] = plainText // or net/http would guess it from the body
	to.Write(hello)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: peer_go_http PORT")
		os.Exit(1)
	}
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp4", "127.0.0.1:"+os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer_go_http:", err)
		os.Exit(1)
	}
	fmt.Println("listening")
	fmt.Fprintln(os.Stderr, "peer_go_http:", http.Serve(listener, http.HandlerFunc(answer)))
	os.Exit(1)
}
