package ews

import (
	"slices"
	"strings"
	"time"
)

// The two days of the end of Exchange Web Services in Exchange Online, both at
// 00:00 UTC. Exchange on premises is not concerned.
const (
	// EnforcedOn is the day since which a tenant must allow it (EWSEnabled is True
	// and the app is in EwsAllowedAppIDs).
	EnforcedOn = "2026-10-01"
	// EndsOn is the day on which it is turned off for good.
	EndsOn = "2027-04-01"
)

// Other is what an operation is counted as that is not in the table, and a
// consumer for which there is no room.
const Other = "other"

// Replacement is what Microsoft Graph has instead of an operation.
type Replacement struct {
	Operation string
	// Graph is the call, as method and path below /v1.0; "" where Microsoft
	// documents none.
	Graph string
	// Permission is the least delegated permission for that call.
	Permission string
	// Also are permissions that come on top where the operation is used for more
	// than messages, or in the ways that Note names.
	Also []string
	// Note is what to know when moving, in sentences.
	Note string
}

// None begins the note of an operation without a Graph call.
const None = "No documented replacement."

// table is every operation in Microsoft's list of EWS operations, in its order,
// and FindAvailableMeetingTimes, which only its mapping to Graph names. Calls are
// from that mapping (Exchange Web Services (EWS) to Microsoft Graph API mappings)
// and the Graph reference, permissions from Microsoft's permission table of August
// 2026 (microsoft-graph-devx-content, "least").
var table = []Replacement{
	{"GetDiscoverySearchConfiguration", "", "", nil, noteDiscovery},
	{"GetHoldOnMailboxes", "", "", nil, noteDiscovery},
	{"GetNonIndexableItemDetails", "", "", nil, noteDiscovery},
	{"GetNonIndexableItemStatistics", "", "", nil, noteDiscovery},
	{"GetSearchableMailboxes", "", "", nil, noteDiscovery},
	{"SearchMailboxes", "", "", nil, noteDiscovery},
	{"SetHoldOnMailboxes", "", "", nil, noteDiscovery},

	{"ArchiveItem", "", "", nil, None + " The folder archive of Graph is one of the primary mailbox, and not the archive mailbox."},
	{"CreateItem", "POST /me/messages", "Mail.ReadWrite", []string{"Mail.Send", "Calendars.ReadWrite", "Contacts.ReadWrite", "Tasks.ReadWrite"}, "POST /me/sendMail (Mail.Send) sends at once. Meetings are POST /me/events, contacts POST /me/contacts, tasks POST /me/todo/lists/{id}/tasks."},
	{"CopyItem", "POST /me/messages/{id}/copy", "Mail.ReadWrite", nil, noteBatch},
	{"DeleteItem", "DELETE /me/messages/{id}", "Mail.ReadWrite", []string{"Calendars.ReadWrite", "Contacts.ReadWrite", "Tasks.ReadWrite"}, "HardDelete is POST /me/messages/{id}/permanentDelete. Events, contacts and tasks have DELETE calls of their own."},
	{"FindItem", "GET /me/mailFolders/{id}/messages, with $filter or $search", "Mail.Read", []string{"Calendars.ReadBasic", "Contacts.Read", "Tasks.Read"}, "Mail.ReadBasic does without $search and bodies. A calendar view is GET /me/calendar/calendarView; contacts are GET /me/contacts, tasks GET /me/todo/lists/{id}/tasks."},
	{"GetItem", "GET /me/messages/{id}", "Mail.Read", []string{"Calendars.Read", "Contacts.Read", "Tasks.Read"}, "The MIME content is GET /me/messages/{id}/$value. Events, contacts and tasks have GET calls of their own."},
	{"MarkAllItemsAsRead", "PATCH /me/messages/{id}", "Mail.ReadWrite", nil, "There is no call for a whole folder: set isRead of each message; POST /$batch takes 20 calls at once."},
	{"MoveItem", "POST /me/messages/{id}/move", "Mail.ReadWrite", nil, noteBatch},
	{"SendItem", "POST /me/messages/{id}/send", "Mail.Send", nil, "POST /me/sendMail sends without a draft."},
	{"UpdateItem", "PATCH /me/messages/{id}", "Mail.ReadWrite", []string{"Calendars.ReadWrite", "Contacts.ReadWrite", "Tasks.ReadWrite"}, "Events, contacts and tasks have PATCH calls of their own."},

	{"CreateFolder", "POST /me/mailFolders/{id}/childFolders", "Mail.ReadWrite", []string{"Calendars.ReadWrite", "Contacts.ReadWrite"}, "At the top it is POST /me/mailFolders. Calendars are POST /me/calendars, contact folders POST /me/contactFolders."},
	{"CreateFolderPath", "POST /me/mailFolders/{id}/childFolders", "Mail.ReadWrite", nil, "One call for each level of the path."},
	{"CreateManagedFolder", "", "", nil, None},
	{"CopyFolder", "POST /me/mailFolders/{id}/copy", "Mail.ReadWrite", nil, ""},
	{"DeleteFolder", "DELETE /me/mailFolders/{id}", "Mail.ReadWrite", nil, "HardDelete is POST /me/mailFolders/{id}/permanentDelete."},
	{"EmptyFolder", "DELETE /me/messages/{id}", "Mail.ReadWrite", nil, "There is no call for a whole folder: delete each message; POST /$batch takes 20 calls at once."},
	{"FindFolder", "GET /me/mailFolders/{id}/childFolders", "Mail.ReadBasic", []string{"Calendars.ReadBasic", "Contacts.Read"}, "Calendars are GET /me/calendars, contact folders GET /me/contactFolders."},
	{"GetFolder", "GET /me/mailFolders/{id}", "Mail.ReadBasic", []string{"Calendars.ReadBasic", "Contacts.Read"}, "Calendars are GET /me/calendars, contact folders GET /me/contactFolders."},
	{"MoveFolder", "POST /me/mailFolders/{id}/move", "Mail.ReadWrite", nil, ""},
	{"UpdateFolder", "PATCH /me/mailFolders/{id}", "Mail.ReadWrite", nil, ""},

	{"CreateAttachment", "POST /me/messages/{id}/attachments", "Mail.ReadWrite", []string{"Calendars.ReadWrite"}, "What is larger than 3 MB goes through POST /me/messages/{id}/attachments/createUploadSession. Events have the same calls."},
	{"GetAttachment", "GET /me/messages/{id}/attachments/{id}", "Mail.Read", []string{"Calendars.Read"}, "The bare content is the same with /$value. Events have the same calls."},
	{"DeleteAttachment", "DELETE /me/messages/{id}/attachments/{id}", "Mail.ReadWrite", []string{"Calendars.ReadWrite"}, "Events have the same call."},

	{"GetReminders", "GET /me/reminderView(startDateTime='…',endDateTime='…')", "Calendars.Read", nil, "Of events only."},
	{"PerformReminderAction", "POST /me/events/{id}/dismissReminder", "Calendars.ReadWrite", nil, "Later is POST /me/events/{id}/snoozeReminder."},

	{"ApplyConversationAction", "", "", nil, noteConversation},
	{"FindConversation", "", "", nil, noteConversation},
	{"GetConversationItems", "", "", nil, noteConversation},

	{"ConvertId", "POST /me/translateExchangeIds", "User.ReadBasic.All", nil, "User.Read does as well."},
	{"ExpandDL", "GET /groups/{id}/members", "GroupMember.ReadBasic.All", nil, "Of groups in Entra ID; for contact groups of a mailbox there is no documented replacement."},
	{"GetUserPhoto", "GET /users/{id}/photo/$value", "User.Read", []string{"User.ReadBasic.All"}, "User.Read is for the own photo, User.ReadBasic.All for those of others."},
	{"MarkAsJunk", "POST /me/messages/{id}/reportMessage", "Mail.ReadWrite", nil, noteBeta},
	{"ResolveNames", "GET /me/people?$search=\"…\"", "People.Read", []string{"User.ReadBasic.All", "Contacts.Read"}, "The whole directory is GET /users?$search=… (User.ReadBasic.All), own contacts are GET /me/contacts (Contacts.Read)."},
	{"GetPasswordExpirationDate", "", "", nil, None},

	{"GetUserAvailability", "POST /me/calendar/getSchedule", "Calendars.ReadBasic", []string{"Calendars.Read.Shared"}, "Suggestions for a meeting are POST /me/findMeetingTimes (Calendars.Read.Shared)."},
	{"FindAvailableMeetingTimes", "POST /me/findMeetingTimes", "Calendars.Read.Shared", []string{"Calendars.ReadBasic"}, "Microsoft's mapping names POST /me/calendar/getSchedule (Calendars.ReadBasic), which says who is free when."},
	{"GetRoomLists", "GET /places/microsoft.graph.roomlist", "Place.Read.All", nil, ""},
	{"GetRooms", "GET /places/{id}/microsoft.graph.roomlist/rooms", "Place.Read.All", nil, "All rooms are GET /places/microsoft.graph.room."},
	{"GetUserOofSettings", "GET /me/mailboxSettings", "MailboxSettings.Read", nil, "In automaticRepliesSetting."},
	{"SetUserOofSettings", "PATCH /me/mailboxSettings", "MailboxSettings.ReadWrite", nil, "In automaticRepliesSetting."},

	{"UploadItems", "POST /admin/exchange/mailboxes/{id}/createImportSession", "MailboxItem.ImportExport", nil, "It takes what exportItems of Graph gave. In the global cloud only."},
	{"ExportItems", "POST /admin/exchange/mailboxes/{id}/exportItems", "MailboxItem.Export", nil, "20 items a call at most; Microsoft does not mean it for backups. In the global cloud only."},

	{"AddDelegate", "POST /users/{id}/calendar/calendarPermissions", "Calendars.ReadWrite", nil, noteDelegates},
	{"GetDelegate", "GET /users/{id}/calendar/calendarPermissions", "Calendars.ReadBasic", nil, noteDelegates},
	{"UpdateDelegate", "PATCH /users/{id}/calendar/calendarPermissions/{id}", "Calendars.ReadWrite", nil, noteDelegates},
	{"RemoveDelegate", "DELETE /users/{id}/calendar/calendarPermissions/{id}", "Calendars.ReadWrite", nil, noteDelegates},

	{"GetInboxRules", "GET /me/mailFolders/inbox/messageRules", "MailboxSettings.Read", nil, ""},
	{"UpdateInboxRules", "POST /me/mailFolders/inbox/messageRules", "MailboxSettings.ReadWrite", nil, "One call for each rule; a change is PATCH and a removal DELETE of /me/mailFolders/inbox/messageRules/{id}."},

	{"DisableApp", "", "", nil, noteAddIns},
	{"GetAppManifests", "", "", nil, noteAddIns},
	{"GetAppMarketplaceUrl", "", "", nil, noteAddIns},
	{"GetClientAccessToken", "", "", nil, noteAddIns},
	{"InstallApp", "", "", nil, noteAddIns},
	{"UninstallApp", "", "", nil, noteAddIns},

	{"GetMailTips", "POST /me/getMailTips", "Mail.Read", nil, ""},

	{"FindMessageTrackingReport", "GET /admin/exchange/tracing/messageTraces", "ExchangeMessageTrace.Read.All", nil, "For administrators. In the global cloud only."},
	{"GetMessageTrackingReport", "GET /admin/exchange/tracing/messageTraces/{id}/getDetailsByRecipient(recipientAddress='…')", "ExchangeMessageTrace.Read.All", nil, "For administrators. In the global cloud only."},

	{"GetEvents", "GET /me/mailFolders/{id}/messages/delta", "Mail.ReadBasic", []string{"Calendars.Read", "Contacts.Read"}, "Events have GET /me/calendarView/delta, contacts GET /me/contactFolders/{id}/contacts/delta. " + noteBodies},
	{"GetStreamingEvents", "POST /subscriptions", "Mail.ReadBasic", []string{"Calendars.Read", "Contacts.Read"}, "Graph keeps no connection open: it calls an HTTPS address of yours, or Azure Event Hubs. A program with neither asks for GET /me/mailFolders/{id}/messages/delta from time to time."},
	{"Subscribe", "POST /subscriptions", "Mail.ReadBasic", []string{"Calendars.Read", "Contacts.Read"}, "Graph calls an HTTPS address of yours, or Azure Event Hubs. A subscription wants a permission to read; one to write does not stand in for it."},
	{"Unsubscribe", "DELETE /subscriptions/{id}", "Mail.ReadBasic", []string{"Calendars.Read", "Contacts.Read"}, "The permission with which it was made."},

	{"FindPeople", "GET /me/people", "People.Read", []string{"User.ReadBasic.All"}, "The whole directory is GET /users?$search=… (User.ReadBasic.All)."},
	{"GetPersona", "GET /users/{id}", "User.ReadBasic.All", []string{"Contacts.Read"}, "A contact is GET /me/contacts/{id} (Contacts.Read). Graph does not link the two."},

	{"GetUserRetentionPolicyTags", "", "", nil, None},
	{"GetServiceConfiguration", "", "", nil, None},

	{"GetSharingFolder", "", "", nil, None},
	{"GetSharingMetadata", "", "", nil, None},
	{"RefreshSharingFolder", "", "", nil, None},

	{"SyncFolderHierarchy", "GET /me/mailFolders/delta", "Mail.ReadBasic", []string{"Calendars.Read", "Contacts.Read"}, "Of mail folders; calendars have GET /me/calendars/delta, contact folders GET /me/contactFolders/delta."},
	{"SyncFolderItems", "GET /me/mailFolders/{id}/messages/delta", "Mail.ReadBasic", []string{"Calendars.Read", "Contacts.Read"}, "Events have GET /me/calendarView/delta, contacts GET /me/contactFolders/{id}/contacts/delta. " + noteBodies},

	{"GetServerTimeZones", "GET /me/outlook/supportedTimeZones", "User.Read", nil, ""},

	{"DisconnectPhoneCall", "", "", nil, noteVoice},
	{"GetPhoneCallInformation", "", "", nil, noteVoice},
	{"PlayOnPhone", "", "", nil, noteVoice},

	{"AddNewImContactToGroup", "", "", nil, None},
	{"AddImContactToGroup", "", "", nil, None},
	{"AddImGroup", "", "", nil, None},
	{"AddNewTelUriContactToGroup", "", "", nil, None},
	{"AddDistributionGroupToImList", "", "", nil, None},
	{"GetImItemList", "", "", nil, None},
	{"GetImItems", "", "", nil, None},
	{"RemoveContactFromImList", "", "", nil, None},
	{"RemoveImContactFromGroup", "", "", nil, None},
	{"RemoveDistributionGroupFromImList", "", "", nil, None},
	{"RemoveImGroup", "", "", nil, None},
	{"SetImGroup", "", "", nil, None},

	{"CreateUserConfiguration", "POST /me/mailFolders/{id}/userConfigurations", "MailboxConfigItem.ReadWrite", nil, noteBeta},
	{"DeleteUserConfiguration", "DELETE /me/mailFolders/{id}/userConfigurations/{id}", "MailboxConfigItem.ReadWrite", nil, noteBeta},
	{"GetUserConfiguration", "GET /me/mailFolders/{id}/userConfigurations/{id}", "MailboxConfigItem.Read", nil, noteBeta},
	{"UpdateUserConfiguration", "PATCH /me/mailFolders/{id}/userConfigurations/{id}", "MailboxConfigItem.ReadWrite", nil, noteBeta},
}

// Notes that several operations share.
const (
	noteDiscovery    = None + " Searches and holds over many mailboxes have gone to Microsoft Purview eDiscovery (/security/cases/ediscoveryCases)."
	noteConversation = None + " Messages have a conversationId, by which a program can group them."
	noteAddIns       = None + " Administrators manage add-ins in the Microsoft 365 admin center."
	noteVoice        = None + " Unified Messaging is no longer part of Exchange Online."
	noteDelegates    = "Of the calendar only; for delegates of other folders there is no documented replacement."
	noteBatch        = "One message a call; POST /$batch takes 20 calls at once."
	noteBeta         = "In /beta only, which Microsoft does not support in production."
	noteBodies       = "Bodies of messages need Mail.Read."
)

// Operations is the closed list of operations, in Microsoft's order, without
// Other.
func Operations() []string {
	names := make([]string, len(table))
	for i, r := range table {
		names[i] = r.Operation
	}
	return names
}

// Exit is the replacement of an operation. One that is not in the list, as Other,
// has none and says what to do.
func Exit(operation string) Replacement {
	if i := slices.IndexFunc(table, func(r Replacement) bool { return r.Operation == operation }); i >= 0 {
		return table[i]
	}
	return Replacement{Operation: Other, Note: "An operation that this version does not know, or a request in which none could be seen."}
}

// reading are the operations that want a permission to read: one to write does not
// stand in for it (Graph's reference, Create subscription).
var reading = map[string]bool{"GetStreamingEvents": true, "Subscribe": true, "Unsubscribe": true}

// Permissions sums up which delegated permissions of Microsoft Graph an app needs
// for the replacements of these operations: need in any case, also where the
// operations were used for more than messages, or as a note says. What a greater
// permission covers is left out. Both are sorted.
func Permissions(operations []string) (need, also []string) {
	var readNeed, readAlso []string
	for _, name := range operations {
		r := Exit(name)
		if reading[name] {
			readNeed, readAlso = append(readNeed, r.Permission), append(readAlso, r.Also...)
			continue
		}
		if r.Permission != "" {
			need = append(need, r.Permission)
		}
		also = append(also, r.Also...)
	}
	all := slices.Concat(need, readNeed)
	need = sorted(append(withoutCovered(need, all), withoutCovered(readNeed, withoutWriting(all))...))
	all = slices.Concat(also, readAlso, need)
	also = append(withoutCovered(also, all), withoutCovered(readAlso, withoutWriting(all))...)
	return need, slices.DeleteFunc(sorted(also), func(p string) bool { return slices.Contains(need, p) })
}

// sorted is list in order, each once.
func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// withoutWriting leaves out permissions that allow more than to read.
func withoutWriting(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(p string) bool { return strings.Contains(p, ".ReadWrite") })
}

// withoutCovered leaves out what a greater permission among all covers.
func withoutCovered(list, all []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(p string) bool {
		return slices.ContainsFunc(all, func(greater string) bool { return covers(greater, p) })
	})
}

// ranks are the verbs of permissions, by how much they allow.
var ranks = map[string]int{"ReadBasic": 1, "Read": 2, "ReadWrite": 3, "Export": 1, "ImportExport": 2}

// covers reports whether greater allows all that p does, and more: the same
// object and reach with a greater verb, as Mail.ReadWrite and Mail.Read.
func covers(greater, p string) bool {
	g, s := strings.SplitN(greater, ".", 3), strings.SplitN(p, ".", 3)
	if len(g) < 2 || len(g) != len(s) || g[0] != s[0] || len(g) == 3 && g[2] != s[2] {
		return false
	}
	exporting := strings.Contains(g[1], "port") == strings.Contains(s[1], "port")
	return exporting && ranks[s[1]] > 0 && ranks[g[1]] > ranks[s[1]]
}

// DaysLeft is how many days there are at now until EndsOn, counted in UTC: 1 on
// the day before, 0 or less from that day on.
func DaysLeft(now time.Time) int {
	end := time.Date(2027, time.April, 1, 0, 0, 0, 0, time.UTC)
	y, m, d := now.UTC().Date()
	return int(end.Sub(time.Date(y, m, d, 0, 0, 0, 0, time.UTC)).Hours()) / 24
}
