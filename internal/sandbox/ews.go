package sandbox

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	nsSOAP     = "http://schemas.xmlsoap.org/soap/envelope/"
	nsTypes    = "http://schemas.microsoft.com/exchange/services/2006/types"
	nsMessages = "http://schemas.microsoft.com/exchange/services/2006/messages"
	nsErrors   = "http://schemas.microsoft.com/exchange/services/2006/errors"
)

// serveEWS is a small Exchange Web Services: GetFolder and FindItem, and
// ConvertId, by which clients ask for the server's version.
func (s *Sandbox) serveEWS(w http.ResponseWriter, r *http.Request) {
	s.run(EndpointEWS, w, r, func(w http.ResponseWriter, r *http.Request) {
		c, err := s.admit(r, audienceOutlook)
		switch {
		case err != nil:
			s.turnAway(w, EndpointEWS, err)
		case !c.permits("EWS.AccessAsUser.All"):
			w.Header().Set("X-Ms-Diagnostics", `2000008;reason="The token contains no permissions, or permissions that are not understood.";error_category="invalid_grant"`)
			w.WriteHeader(http.StatusForbidden)
		case r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "Exchange Web Services take POST requests.", http.StatusMethodNotAllowed)
		default:
			s.serveSOAP(w, r, c)
		}
	})
}

// soapCall is what the sandbox reads of a SOAP request.
type soapCall struct {
	XMLName xml.Name `xml:"http://schemas.xmlsoap.org/soap/envelope/ Envelope"`
	Body    struct {
		GetFolder *folderCall `xml:"http://schemas.microsoft.com/exchange/services/2006/messages GetFolder"`
		FindItem  *itemCall   `xml:"http://schemas.microsoft.com/exchange/services/2006/messages FindItem"`
		ConvertID *struct{}   `xml:"http://schemas.microsoft.com/exchange/services/2006/messages ConvertId"`
		Any       []struct {
			XMLName xml.Name
		} `xml:",any"`
	} `xml:"http://schemas.xmlsoap.org/soap/envelope/ Body"`
}

type folderCall struct {
	Folders folderIDs `xml:"FolderIds"`
}

type folderIDs struct {
	Distinguished []struct {
		ID string `xml:"Id,attr"`
	} `xml:"DistinguishedFolderId"`
	Plain []struct {
		ID string `xml:"Id,attr"`
	} `xml:"FolderId"`
}

// first is the folder meant; the inbox where none is named.
func (f folderIDs) first() string {
	switch {
	case len(f.Distinguished) > 0:
		return f.Distinguished[0].ID
	case len(f.Plain) > 0:
		return f.Plain[0].ID
	}
	return "inbox"
}

type itemCall struct {
	Folders folderIDs `xml:"ParentFolderIds"`
	Page    *struct {
		Max    int `xml:"MaxEntriesReturned,attr"`
		Offset int `xml:"Offset,attr"`
	} `xml:"IndexedPageItemView"`
}

func (s *Sandbox) serveSOAP(w http.ResponseWriter, r *http.Request, c accessClaims) {
	body, err := io.ReadAll(r.Body)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	var call soapCall
	if err != nil || xml.Unmarshal(body, &call) != nil {
		soapFault(w, "ErrorSchemaValidation", "The request failed schema validation.")
		return
	}
	switch {
	case call.Body.GetFolder != nil:
		soapAnswer(w, getFolder(c, call.Body.GetFolder.Folders.first()))
	case call.Body.FindItem != nil:
		soapAnswer(w, s.findItem(c, call.Body.FindItem))
	case call.Body.ConvertID != nil:
		soapAnswer(w, convertID)
	case len(call.Body.Any) > 0:
		soapFault(w, "ErrorInvalidOperation", "The sandbox's Exchange knows GetFolder, FindItem and ConvertId only, not "+call.Body.Any[0].XMLName.Local+".")
	default:
		soapFault(w, "ErrorSchemaValidation", "The request has an empty SOAP body.")
	}
}

// convertID is the answer to ConvertId: there is one form of identifiers, so that
// none can be converted. exchangelib converts an invalid one and reads the
// header of the answer.
const convertID = `<m:ConvertIdResponse><m:ResponseMessages><m:ConvertIdResponseMessage ResponseClass="Error">` +
	`<m:MessageText>Id is malformed.</m:MessageText><m:ResponseCode>ErrorInvalidIdMalformed</m:ResponseCode>` +
	`<m:DescriptiveLinkKey>0</m:DescriptiveLinkKey></m:ConvertIdResponseMessage></m:ResponseMessages></m:ConvertIdResponse>`

// getFolder is the answer to GetFolder; every mailbox has a root and an inbox.
func getFolder(c accessClaims, folder string) string {
	const ok = `<m:GetFolderResponse><m:ResponseMessages><m:GetFolderResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>` +
		`<m:Folders><t:Folder><t:FolderId Id="%s" ChangeKey="AQAAAA=="/>%s<t:TotalCount>%d</t:TotalCount>` +
		`<t:ChildFolderCount>%d</t:ChildFolderCount><t:UnreadCount>%d</t:UnreadCount></t:Folder></m:Folders>` +
		`</m:GetFolderResponseMessage></m:ResponseMessages></m:GetFolderResponse>`
	const gone = `<m:GetFolderResponse><m:ResponseMessages><m:GetFolderResponseMessage ResponseClass="Error">` +
		`<m:MessageText>The specified folder could not be found in the store.</m:MessageText><m:ResponseCode>ErrorFolderNotFound</m:ResponseCode>` +
		`<m:DescriptiveLinkKey>0</m:DescriptiveLinkKey><m:Folders/></m:GetFolderResponseMessage></m:ResponseMessages></m:GetFolderResponse>`
	switch {
	case isFolder(c, "inbox", folder):
		return fmt.Sprintf(ok, folderID(c, "inbox"), `<t:FolderClass>IPF.Note</t:FolderClass><t:DisplayName>Inbox</t:DisplayName>`, mailboxSize, 0, 3)
	case isFolder(c, "root", folder):
		return fmt.Sprintf(ok, folderID(c, "root"), `<t:DisplayName>Root</t:DisplayName>`, 0, 1, 0)
	}
	return gone
}

// findItem is the answer to FindItem in the inbox.
func (s *Sandbox) findItem(c accessClaims, call *itemCall) string {
	if !isFolder(c, "inbox", call.Folders.first()) {
		return `<m:FindItemResponse><m:ResponseMessages><m:FindItemResponseMessage ResponseClass="Error">` +
			`<m:MessageText>The specified folder could not be found in the store.</m:MessageText><m:ResponseCode>ErrorFolderNotFound</m:ResponseCode>` +
			`<m:DescriptiveLinkKey>0</m:DescriptiveLinkKey></m:FindItemResponseMessage></m:ResponseMessages></m:FindItemResponse>`
	}
	from, to := 0, mailboxSize
	if p := call.Page; p != nil {
		from = min(max(p.Offset, 0), mailboxSize)
		to = min(from+max(p.Max, 0), mailboxSize)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<m:FindItemResponse><m:ResponseMessages><m:FindItemResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>`+
		`<m:RootFolder IndexedPagingOffset="%d" TotalItemsInView="%d" IncludesLastItemInRange="%t"><t:Items>`, to, mailboxSize, to == mailboxSize)
	for n := from; n < to; n++ {
		m := mailAt(c.UPN, n, s.now())
		fmt.Fprintf(&b, `<t:Message><t:ItemId Id="%s" ChangeKey="CQAAAA=="/><t:Subject>%s</t:Subject><t:DateTimeReceived>%s</t:DateTimeReceived>`+
			`<t:From><t:Mailbox><t:Name>%s</t:Name><t:EmailAddress>%s</t:EmailAddress></t:Mailbox></t:From><t:IsRead>%t</t:IsRead></t:Message>`,
			m.id, m.subject, m.received.Format(time.RFC3339), m.from, m.address, n > 2)
	}
	b.WriteString(`</t:Items></m:RootFolder></m:FindItemResponseMessage></m:ResponseMessages></m:FindItemResponse>`)
	return b.String()
}

// folderID is the identifier of one of the user's folders.
func folderID(c accessClaims, name string) string {
	return encode([]byte("folder:" + name + ":" + c.UPN))
}

// isFolder reports whether the request means the folder of that name.
func isFolder(c accessClaims, name, asked string) bool {
	return strings.EqualFold(asked, name) || asked == folderID(c, name)
}

// soapAnswer sends a body that is made of our own text only.
func soapAnswer(w http.ResponseWriter, body string) {
	sendSOAP(w, http.StatusOK, `<s:Header><t:ServerVersionInfo MajorVersion="15" MinorVersion="20" MajorBuildNumber="0" MinorBuildNumber="0" Version="V2018_01_08"/></s:Header>`+
		`<s:Body>`+body+`</s:Body>`)
}

// soapFault sends a SOAP 1.1 fault with Exchange's detail.
func soapFault(w http.ResponseWriter, code, text string) {
	var safe strings.Builder
	_ = xml.EscapeText(&safe, []byte(text)) // a strings.Builder takes everything
	sendSOAP(w, http.StatusInternalServerError, `<s:Body><s:Fault><faultcode xmlns:a="`+nsTypes+`">a:`+code+`</faultcode>`+
		`<faultstring xml:lang="en-US">`+safe.String()+`</faultstring><detail><e:ResponseCode xmlns:e="`+nsErrors+`">`+code+`</e:ResponseCode>`+
		`<e:Message xmlns:e="`+nsErrors+`">`+safe.String()+`</e:Message></detail></s:Fault></s:Body>`)
}

func sendSOAP(w http.ResponseWriter, status int, inner string) {
	out := xml.Header + `<s:Envelope xmlns:s="` + nsSOAP + `" xmlns:t="` + nsTypes + `" xmlns:m="` + nsMessages + `">` + inner + `</s:Envelope>`
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(out)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, out)
}

// blockEWS answers as a tenant that does not allow the application to use EWS.
func blockEWS(_ *Sandbox, c call) {
	c.w.Header().Set("X-EWS-Policy-Reason", "EWS is blocked by policy for this user or tenant")
	http.Error(c.w, "EWS is disabled for this tenant or application.", http.StatusForbidden)
}

// disableEWS answers as a tenant that has switched EWS off, for all or for this
// mailbox.
func disableEWS(_ *Sandbox, c call) {
	c.w.Header().Set("X-EWS-Policy-Reason", "EWS is disabled for this user or tenant")
	http.Error(c.w, "EWS is disabled.", http.StatusForbidden)
}
