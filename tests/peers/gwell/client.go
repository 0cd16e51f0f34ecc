// The public Go client of GWell (github.com/wlatic/hacky-wyze-gwell), unmodified, as a program: it watches one camera
// and writes the H.264 that it makes of it to a file. Standard output has an object a line, what the client logs
// among them.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wlatic/wyze-gwell-bridge/wyze-p2p/pkg/gwell"
)

func main() {
	log.SetFlags(0)
	log.SetOutput(logged{})
	if err := run(); err != nil {
		say("ended", err.Error())
		os.Exit(1)
	}
	say("ended", "")
}

func run() error {
	server := flag.String("server", "", "P2P server, IP:PORT; without one this client would ask the Internet, so it must be given")
	accessID := flag.String("access-id", "", "the account's access id")
	accessToken := flag.String("access-token", "", "its token")
	device := flag.String("device", "", "name of the camera")
	camera := flag.String("camera", "", "IP address of the camera; without one it is reached through relays")
	known := flag.String("known", "", "devices learnt before, NAME=TID,…: the TID in decimal")
	output := flag.String("output", "", "file for the H.264")
	flag.Parse()
	if *server == "" {
		return fmt.Errorf("--server is missing")
	}
	token, err := gwell.ParseAccessToken(*accessID, *accessToken)
	if err != nil {
		return err
	}
	devices, err := parseDevices(*known)
	if err != nil {
		return err
	}
	file, err := os.Create(*output)
	if err != nil {
		return err
	}
	defer file.Close()
	session := gwell.NewSession(gwell.SessionConfig{
		Token:       token,
		ServerAddr:  *server,
		CameraLanIP: *camera,
		DeviceName:  *device,
		H264Writer:  &counted{file: file, begun: time.Now()},
		Devices:     devices,
	})
	return session.Run(*device)
}

func parseDevices(known string) ([]gwell.DeviceInfo, error) {
	var devices []gwell.DeviceInfo
	for _, device := range strings.FieldsFunc(known, func(r rune) bool { return r == ',' }) {
		name, text, _ := strings.Cut(device, "=")
		tid, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, err
		}
		devices = append(devices, gwell.DeviceInfo{Name: name, TID: tid})
	}
	return devices, nil
}

// counted tells how much has been written: the first time, and then every 4 KiB.
type counted struct {
	file        *os.File
	begun       time.Time
	total, told int
}

func (c *counted) Write(h264 []byte) (int, error) {
	n, err := c.file.Write(h264)
	if c.total == 0 {
		say("first_ms", time.Since(c.begun).Milliseconds())
	}
	c.total += n
	if c.total-c.told >= 4096 {
		c.told = c.total
		say("bytes", c.total)
	}
	return n, err
}

// logged is what the client's own log lines go through.
type logged struct{}

func (logged) Write(line []byte) (int, error) {
	say("log", strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

var saying sync.Mutex

func say(name string, value any) {
	line, err := json.Marshal(map[string]any{name: value})
	if err != nil {
		panic(err)
	}
	saying.Lock()
	defer saying.Unlock()
	os.Stdout.Write(append(line, '\n'))
}
