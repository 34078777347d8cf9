package config

// Cloud is one of Microsoft's separate clouds.
type Cloud string

// The clouds. CloudGlobal also serves GCC, which has no hosts of its own.
const (
	CloudGlobal  Cloud = "global"
	CloudGCCHigh Cloud = "gcchigh"
	CloudDoD     Cloud = "dod"
	CloudChina   Cloud = "china"
)

// Endpoints are the base URLs of one cloud, without trailing slashes.
type Endpoints struct {
	Login   string // Microsoft Entra ID
	Graph   string // Microsoft Graph
	Outlook string // Exchange Online: EWS and its audience
	Mail    string // audience of IMAP, SMTP and POP tokens
}

// Endpoints gives the hosts of the cloud (Microsoft Learn: "National clouds",
// "Microsoft Graph national cloud deployments", and the endpoint lists of
// Exchange Online per cloud). Only the global cloud has a mail audience apart
// from its EWS host. An unknown cloud gets the global hosts.
func (c Cloud) Endpoints() Endpoints {
	switch c {
	case CloudGCCHigh:
		return Endpoints{
			Login:   "https://login.microsoftonline.us",
			Graph:   "https://graph.microsoft.us",
			Outlook: "https://outlook.office365.us",
			Mail:    "https://outlook.office365.us",
		}
	case CloudDoD:
		return Endpoints{
			Login:   "https://login.microsoftonline.us",
			Graph:   "https://dod-graph.microsoft.us",
			Outlook: "https://outlook-dod.office365.us",
			Mail:    "https://outlook-dod.office365.us",
		}
	case CloudChina:
		return Endpoints{
			Login:   "https://login.partner.microsoftonline.cn",
			Graph:   "https://microsoftgraph.chinacloudapi.cn",
			Outlook: "https://partner.outlook.cn",
			Mail:    "https://partner.outlook.cn",
		}
	default:
		return Endpoints{
			Login:   "https://login.microsoftonline.com",
			Graph:   "https://graph.microsoft.com",
			Outlook: "https://outlook.office365.com",
			Mail:    "https://outlook.office.com",
		}
	}
}

// AuthorityURL is the login host in force, https://host[:port]: the setting
// authority, else the cloud's own.
func (c *Config) AuthorityURL() string {
	if c.Authority != "" {
		return c.Authority
	}
	return c.Cloud.Endpoints().Login
}

// builtin are the resources every installation has, as a layer beneath the files.
func builtin(c Cloud) map[string]any {
	e := c.Endpoints()
	resource := func(base, scope string) map[string]any {
		r := map[string]any{"scopes": []string{scope}}
		if base != "" {
			r["base_url"] = base
		}
		return r
	}
	return map[string]any{"resources": map[string]any{
		"graph": resource(e.Graph, e.Graph+"/.default"),
		"ews":   resource(e.Outlook, e.Outlook+"/EWS.AccessAsUser.All"),
		"imap":  resource("", e.Mail+"/IMAP.AccessAsUser.All"),
		"smtp":  resource("", e.Mail+"/SMTP.Send"),
		"pop":   resource("", e.Mail+"/POP.AccessAsUser.All"),
	}}
}
