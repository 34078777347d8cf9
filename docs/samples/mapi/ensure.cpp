// A service that reads a mailbox by Extended MAPI, with the M365 Token Broker
// beside it: it asks for a fresh sign-in before each logon, opens the mailbox
// whatever the answer was, and tells the broker how that went.
//
//   ensure TARGET PROFILE
//
//   BROKER_URL       the broker's address (default http://127.0.0.1:8477)
//   BROKER_KEY_FILE  a file with the key, readable by the service's account only
//   BROKER_KEY       or the key itself; it never belongs into the source code
//
// Build it in Outlook's bitness:
//
//   x86_64-w64-mingw32-g++ -std=c++17 -municode ensure.cpp -lmapi32 -lwinhttp
//   cl /std:c++17 /EHsc ensure.cpp mapi32.lib winhttp.lib    (with MAPIStubLibrary's headers)

#ifndef UNICODE
#define UNICODE
#endif
#include <windows.h>

#include <winhttp.h>

#include <mapix.h>

#include <cstdio>
#include <string>

// ---- The broker ----------------------------------------------------------

// Answer is what the broker said; status 0: it did not answer.
struct Answer {
	DWORD status = 0;
	DWORD retryAfter = 0; // seconds; 0: it did not say
	std::string body;     // JSON
};

class Broker {
public:
	Broker(const std::wstring &url, const std::string &key) : authorization(L"Authorization: Bearer " + std::wstring(key.begin(), key.end()) + L"\r\n")
	{
		wchar_t host[256] = {};
		URL_COMPONENTS parts = {};
		parts.dwStructSize = sizeof parts;
		parts.lpszHostName = host;
		parts.dwHostNameLength = 256;
		if (!WinHttpCrackUrl(url.c_str(), 0, 0, &parts))
			return;
		// No proxy: the broker is on this computer.
		session = WinHttpOpen(L"mapi-sample", WINHTTP_ACCESS_TYPE_NO_PROXY, WINHTTP_NO_PROXY_NAME, WINHTTP_NO_PROXY_BYPASS, 0);
		if (session) {
			WinHttpSetTimeouts(session, 5000, 5000, 5000, 90000); // ensure waits for up to 60 s
			connection = WinHttpConnect(session, host, parts.nPort, 0);
		}
	}
	~Broker()
	{
		if (connection)
			WinHttpCloseHandle(connection);
		if (session)
			WinHttpCloseHandle(session);
	}
	Broker(const Broker &) = delete;
	Broker &operator=(const Broker &) = delete;

	Answer post(const std::wstring &path, const std::string &body) const
	{
		Answer a;
		HINTERNET request = connection ? WinHttpOpenRequest(connection, L"POST", path.c_str(), nullptr, WINHTTP_NO_REFERER, WINHTTP_DEFAULT_ACCEPT_TYPES, 0) : nullptr;
		if (!request)
			return a;
		const std::wstring headers = body.empty() ? authorization : authorization + L"Content-Type: application/json\r\n";
		void *text = const_cast<char *>(body.data());
		const DWORD size = static_cast<DWORD>(body.size());
		if (WinHttpSendRequest(request, headers.c_str(), static_cast<DWORD>(-1), text, size, size, 0) && WinHttpReceiveResponse(request, nullptr)) {
			a.status = number(request, WINHTTP_QUERY_STATUS_CODE);
			a.retryAfter = number(request, WINHTTP_QUERY_RETRY_AFTER);
			char part[4096];
			DWORD got = 0;
			while (WinHttpReadData(request, part, sizeof part, &got) && got > 0)
				a.body.append(part, got);
		}
		WinHttpCloseHandle(request);
		return a;
	}

private:
	static DWORD number(HINTERNET request, DWORD what)
	{
		DWORD value = 0, size = sizeof value;
		if (!WinHttpQueryHeaders(request, what | WINHTTP_QUERY_FLAG_NUMBER, WINHTTP_HEADER_NAME_BY_INDEX, &value, &size, WINHTTP_NO_HEADER_INDEX))
			return 0;
		return value;
	}

	std::wstring authorization;
	HINTERNET session = nullptr, connection = nullptr;
};

// field is a string of a JSON object, "" where there is none. It knows no more
// of JSON than the broker's answers need; take the library that you have.
static std::string field(const std::string &json, const std::string &name)
{
	size_t at = json.find("\"" + name + "\"");
	if (at == std::string::npos || (at = json.find(':', at)) == std::string::npos || (at = json.find('"', at)) == std::string::npos)
		return "";
	std::string value;
	for (at++; at < json.size() && json[at] != '"'; at++) {
		if (json[at] == '\\' && at + 1 < json.size())
			at++; // \" and \\; others do not occur in the broker's sentences
		value += json[at];
	}
	return value;
}

// say writes a line to the log: here standard error, in a service its own.
static void say(const std::string &line)
{
	std::fprintf(stderr, "%s\n", line.c_str());
}

// ensure asks for a fresh sign-in of the Outlook profile behind target, and waits
// for it. What it returns is good to know, and no reason not to try: an answer of
// 503 can come while the token is still good.
static bool ensure(const Broker &broker, const std::wstring &target)
{
	const ULONGLONG until = GetTickCount64() + 3 * 60 * 1000;
	for (;;) {
		const Answer a = broker.post(L"/v1/mapi/" + target + L"/ensure?wait=60", "");
		switch (a.status) {
		case 200: // fresh
			return true;
		case 202: // Outlook is at it
			if (GetTickCount64() < until) {
				Sleep((a.retryAfter ? a.retryAfter : 15) * 1000);
				continue;
			}
			say("Outlook has not finished yet; trying all the same");
			return false;
		case 0:
			say("the broker does not answer; trying all the same");
			return false;
		default: // 409: a person must act, 501: it cannot work here, 503: later, 401, 403, 404: our own mistake
			say("the broker says " + std::to_string(a.status) + ": " + field(a.body, "detail"));
			return false;
		}
	}
}

// report tells the broker how the opening went. There is no better probe than
// the program itself. That it cannot be told is no reason to stop.
static void report(const Broker &broker, const std::wstring &target, HRESULT hr, const char *operation)
{
	char body[128] = "{\"ok\":true}";
	if (FAILED(hr))
		std::snprintf(body, sizeof body, "{\"hresult\":\"0x%08lX\",\"operation\":\"%s\"}", static_cast<unsigned long>(hr), operation);
	if (broker.post(L"/v1/mapi/" + target + L"/report", body).status != 202)
		say("the broker did not take the report");
}

// ---- The mailbox ---------------------------------------------------------

static bool inSession0()
{
	DWORD id = 0;
	return ProcessIdToSessionId(GetCurrentProcessId(), &id) && id == 0;
}

template <class T> static void release(T *&object)
{
	if (object)
		object->Release();
	object = nullptr;
}

// Mailbox is the default store of a profile in a session of its own. A provider
// that failed at its logon stays off for the rest of a session, so each try makes
// a new one.
class Mailbox {
public:
	~Mailbox()
	{
		release(store);
		if (session)
			session->Logoff(0, 0, 0);
		release(session);
	}

	// open opens the profile's default store; operation is what was tried last.
	HRESULT open(const std::wstring &profile, const char *&operation)
	{
		ULONG flags = MAPI_EXTENDED | MAPI_NEW_SESSION | MAPI_EXPLICIT_PROFILE | MAPI_NO_MAIL | MAPI_UNICODE;
		if (inSession0())
			flags |= MAPI_NT_SERVICE;
		operation = "MAPILogonEx";
		HRESULT hr = MAPILogonEx(0, reinterpret_cast<LPTSTR>(const_cast<wchar_t *>(profile.c_str())), nullptr, flags, &session);
		if (FAILED(hr))
			return hr;
		operation = "GetMsgStoresTable";
		std::string entry;
		hr = findDefaultStore(entry);
		if (FAILED(hr))
			return hr;
		operation = "OpenMsgStore";
		hr = session->OpenMsgStore(0, static_cast<ULONG>(entry.size()), reinterpret_cast<LPENTRYID>(&entry[0]), nullptr, MDB_NO_DIALOG | MDB_NO_MAIL, &store);
		return FAILED(hr) ? hr : readFromServer(operation);
	}

	LPMDB store = nullptr;

private:
	// A cached mailbox opens from its local copy also where the sign-in is dead:
	// only what came from the server is worth a report of success.
	HRESULT readFromServer(const char *&operation)
	{
		const ULONG noCache = 0x0200; // MAPI_NO_CACHE, which older headers lack
		operation = "OpenEntry";
		ULONG type = 0, count = 0;
		LPMAPIFOLDER root = nullptr;
		HRESULT hr = store->OpenEntry(0, nullptr, nullptr, noCache, &type, reinterpret_cast<LPUNKNOWN *>(&root));
		if (FAILED(hr))
			return hr;
		operation = "GetProps";
		SizedSPropTagArray(1, columns) = {1, {PR_CONTENT_COUNT}};
		LPSPropValue values = nullptr;
		hr = root->GetProps(reinterpret_cast<LPSPropTagArray>(&columns), 0, &count, &values);
		if (SUCCEEDED(hr))
			MAPIFreeBuffer(values);
		release(root);
		return hr;
	}

	HRESULT findDefaultStore(std::string &entry)
	{
		LPMAPITABLE table = nullptr;
		HRESULT hr = session->GetMsgStoresTable(0, &table);
		if (FAILED(hr))
			return hr;
		SizedSPropTagArray(2, columns) = {2, {PR_ENTRYID, PR_DEFAULT_STORE}};
		LPSRowSet rows = nullptr;
		hr = table->SetColumns(reinterpret_cast<LPSPropTagArray>(&columns), 0);
		if (SUCCEEDED(hr))
			hr = table->QueryRows(100, 0, &rows);
		if (SUCCEEDED(hr)) {
			for (ULONG i = 0; i < rows->cRows; i++) {
				SPropValue *v = rows->aRow[i].lpProps;
				if (v[1].ulPropTag == PR_DEFAULT_STORE && v[1].Value.b)
					entry.assign(reinterpret_cast<const char *>(v[0].Value.bin.lpb), v[0].Value.bin.cb);
				MAPIFreeBuffer(v);
			}
			MAPIFreeBuffer(rows);
		}
		release(table);
		return SUCCEEDED(hr) && entry.empty() ? static_cast<HRESULT>(MAPI_E_NOT_FOUND) : hr;
	}

	LPMAPISESSION session = nullptr;
};

// ---- The service ---------------------------------------------------------

static std::wstring variable(const wchar_t *name)
{
	wchar_t value[1024];
	const DWORD n = GetEnvironmentVariableW(name, value, 1024);
	return n < 1024 ? std::wstring(value, n) : L"";
}

static std::string key()
{
	std::string text;
	const std::wstring file = variable(L"BROKER_KEY_FILE"), plain = variable(L"BROKER_KEY");
	if (!file.empty()) {
		if (FILE *f = _wfopen(file.c_str(), L"r")) {
			char line[256] = {};
			text = std::fgets(line, sizeof line, f) ? line : "";
			std::fclose(f);
		}
	} else {
		text.assign(plain.begin(), plain.end()); // keys are ASCII
	}
	return text.substr(0, text.find_first_of("\r\n "));
}

int wmain(int argc, wchar_t **argv)
{
	if (argc != 3) {
		say("usage: ensure TARGET PROFILE");
		return 2;
	}
	const std::wstring url = variable(L"BROKER_URL"), target = argv[1], profile = argv[2];
	const Broker broker(url.empty() ? L"http://127.0.0.1:8477" : url, key());

	MAPIINIT_0 init = {MAPI_INIT_VERSION, MAPI_MULTITHREAD_NOTIFICATIONS};
	if (inSession0())
		init.ulFlags |= MAPI_NT_SERVICE;
	HRESULT hr = MAPIInitialize(&init);
	if (FAILED(hr)) {
		report(broker, target, hr, "MAPIInitialize");
		return 1;
	}
	for (int attempt = 1; attempt <= 3; attempt++) {
		ensure(broker, target); // joins what a report has begun
		Mailbox mailbox;
		const char *operation = "";
		hr = mailbox.open(profile, operation);
		report(broker, target, hr, operation);
		if (SUCCEEDED(hr)) {
			say("the mailbox is open");
			// The service's own work with mailbox.store is here. An error of these
			// calls is reported and retried in the same way.
			break;
		}
		char line[128];
		std::snprintf(line, sizeof line, "%s failed with 0x%08lX (attempt %d)", operation, static_cast<unsigned long>(hr), attempt);
		say(line);
	}
	MAPIUninitialize();
	return SUCCEEDED(hr) ? 0 : 1;
}
