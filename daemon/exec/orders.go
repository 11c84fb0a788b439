package main

import "syscall"

// ordersVersion is the first field of the orders. It changes with their form, as
// roost-exec can be replaced under a running keeper.
const ordersVersion = "roost-exec/2"

// orders are what the keeper wants done. On the wire each field is a string that
// ends with a zero byte, in the order of this struct, numbers in decimal, flags
// as 0 or 1, a list as its length and then its strings. The keeper's end is in
// package spawn.
type orders struct {
	umask   int
	nofile  int // 0 leaves it
	setID   bool
	uid     int
	gid     int
	groups  []int
	dir     string
	cgroups []string // cgroup.procs files to enter
	socket  bool     // descriptor 5 is a listening socket
	path    string
	argv    []string
	env     []string
}

func readOrders() (orders, bool) {
	var data []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := syscall.Read(ordersFD, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return orders{}, false
		}
		if n == 0 {
			return parseOrders(data)
		}
		data = append(data, buf[:n]...)
	}
}

func parseOrders(data []byte) (orders, bool) {
	f := fields{rest: data}
	if f.text() != ordersVersion {
		return orders{}, false
	}
	o := orders{
		umask:   f.number(),
		nofile:  f.number(),
		setID:   f.number() == 1,
		uid:     f.number(),
		gid:     f.number(),
		groups:  f.numbers(),
		dir:     f.text(),
		cgroups: f.texts(),
		socket:  f.number() == 1,
		path:    f.text(),
		argv:    f.texts(),
		env:     f.texts(),
	}
	return o, !f.bad && len(f.rest) == 0
}

// fields reads the orders one after the other; bad stays set after a fault.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) text() string {
	for i, c := range f.rest {
		if c == 0 {
			s := string(f.rest[:i])
			f.rest = f.rest[i+1:]
			return s
		}
	}
	f.bad, f.rest = true, nil
	return ""
}

func (f *fields) number() int {
	s := f.text()
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > 1<<58 {
			f.bad = true
			return 0
		}
		n = n*10 + int(c-'0')
	}
	if s == "" {
		f.bad = true
	}
	return n
}

func (f *fields) texts() []string {
	n := f.number()
	if n > len(f.rest) { // each takes a byte at least
		f.bad = true
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = f.text()
	}
	return list
}

func (f *fields) numbers() []int {
	n := f.number()
	if n > len(f.rest) {
		f.bad = true
		return nil
	}
	list := make([]int, n)
	for i := range list {
		list[i] = f.number()
	}
	return list
}
