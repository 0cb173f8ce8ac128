// Asks HOST:PORTs on loopback for a TLS handshake, as crypto/tls verifies them by the system's roots; says for each how it went.
package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
)

func main() {
	for _, asked := range os.Args[1:] {
		host, port, _ := net.SplitHostPort(asked)
		connection, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{ServerName: host})
		if err != nil {
			fmt.Println("refused", asked, err)
			continue
		}
		fmt.Println("accepted", asked)
		connection.Close()
	}
}
