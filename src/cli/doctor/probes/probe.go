// One request by net/http, and a line that says how it went.
package main

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"
)

func say(outcome, detail string) {
	version := strings.TrimPrefix(runtime.Version(), "go")
	detail = strings.Join(strings.Fields(detail), " ")
	fmt.Println(strings.Join([]string{"doctor", "go", version, outcome, detail}, "\t"))
	os.Exit(0)
}

func main() {
	request, err := http.NewRequest("GET", os.Args[2], nil)
	if err != nil {
		say("failed", err.Error())
	}
	// The name is in no DNS, and nobody is to be asked for it.
	if proxy, err := http.ProxyFromEnvironment(request); err != nil {
		say("failed", err.Error())
	} else if proxy == nil {
		say("direct", "")
	}
	request.Header.Set("Authorization", "Bearer doctor")
	client := &http.Client{Timeout: 8 * time.Second}
	answer, err := client.Do(request)
	if err != nil {
		if strings.Contains(err.Error(), "x509:") {
			say("untrusted", err.Error())
		}
		say("failed", err.Error())
	}
	if strings.Contains(answer.Header.Get("Proxy-Status"), "batch-retry-proxy") {
		say("works", "")
	}
	say("direct", "")
}
