module doorstep.example/gwell-client

go 1.21

require github.com/wlatic/wyze-gwell-bridge/wyze-p2p v0.0.0
