package endpoint

// HTTPSPort is the port of the known proxies' TLS listeners, as an app is told it
// that redirects to https; 0 where they have none, or several.
func (r *Registry) HTTPSPort() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	port := 0
	for _, p := range r.proxies {
		for _, l := range p.Listeners {
			switch {
			case !l.TLS || l.Port == port:
			case port != 0:
				return 0
			default:
				port = l.Port
			}
		}
	}
	return port
}
