// interop_server serves grpc-go's own grpc.testing.TestService on a free port of 127.0.0.1 and
// writes HOST:PORT into the file that its argument names. (The server that comes with grpc-go
// listens on every interface.)
package main

import (
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	if err := os.WriteFile(os.Args[1], []byte(listener.Addr().String()), 0o600); err != nil {
		log.Fatal(err)
	}
	log.Fatal(server.Serve(listener))
}
