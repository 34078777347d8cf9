/* A MAPI for tests: it answers each call with what the environment says, checks
 * how it is called, and counts what it is not given back. It is built against
 * the MAPI headers of mingw-w64, so that the tables of methods and the structures
 * are not those of the program under test.
 *
 *   FAKEMAPI_<CALL>   the HRESULT of a call, as 0x8004011D, or "hang", "crash", or
 *                     "null" (success without an object); calls: INITIALIZE LOGON
 *                     STORES COLUMNS ROWS OPEN ENTRY PROPS LOGOFF
 *   FAKEMAPI_COUNT    how many stores there are (default 2); the last is the default
 *   FAKEMAPI_NONE     set: none of them is
 *   FAKEMAPI_PROP     the error in the property that is read
 *
 * It reports by setting, in its own process,
 *
 *   FAKEMAPI_LOADED   1 as soon as it is loaded
 *   FAKEMAPI_LOG      the calls, each with its flags
 *   FAKEMAPI_LEFT     at MAPIUninitialize: buffers and objects not given back
 *
 * A call that a reading program has no business to make ends the process with
 * exit code 99.
 */
#define COBJMACROS
#include <initguid.h>
#include <windows.h>
#include <mapix.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __declspec(dllexport)

static LONG buffers, objects;

static void note(const char *call, ULONG flags)
{
	char log[2000];
	DWORD n = GetEnvironmentVariableA("FAKEMAPI_LOG", log, sizeof log - 100);
	snprintf(log + n, sizeof log - n, "%s%s(%lx)", n ? " " : "", call, flags);
	SetEnvironmentVariableA("FAKEMAPI_LOG", log);
}

static void WINAPI unexpected(void)
{
	note("unexpected", 0);
	TerminateProcess(GetCurrentProcess(), 99);
}

static void require(int condition)
{
	if (!condition)
		unexpected();
}

/* told is what the environment says about a call. */
static HRESULT told(const char *call, int *null)
{
	char name[64], value[64];
	snprintf(name, sizeof name, "FAKEMAPI_%s", call);
	if (null)
		*null = 0;
	if (!GetEnvironmentVariableA(name, value, sizeof value))
		return S_OK;
	if (!strcmp(value, "hang"))
		Sleep(INFINITE);
	require(strcmp(value, "crash"));
	if (!strcmp(value, "null")) {
		require(null != NULL);
		*null = 1;
		return S_OK;
	}
	return (HRESULT)strtoul(value, NULL, 16);
}

static void *allocate(size_t size)
{
	InterlockedIncrement(&buffers);
	return calloc(1, size);
}

ULONG STDAPICALLTYPE EXPORT MAPIFreeBuffer(LPVOID p)
{
	require(p != NULL);
	InterlockedDecrement(&buffers);
	free(p);
	return 0;
}

/* give hands an object out, where the call succeeds. */
static HRESULT give(const char *call, void *object, void **out)
{
	int null;
	HRESULT hr = told(call, &null);
	require(out != NULL && *out == NULL);
	if (SUCCEEDED(hr) && !null) {
		InterlockedIncrement(&objects);
		*out = object;
	}
	return hr;
}

static ULONG WINAPI release(IUnknown *self)
{
	(void)self;
	return InterlockedDecrement(&objects);
}

/* The root folder. */

static HRESULT WINAPI folder_get_props(IMAPIFolder *self, LPSPropTagArray tags, ULONG flags, ULONG *count, LPSPropValue *values)
{
	char value[64];
	HRESULT hr = told("PROPS", NULL);
	(void)self;
	note("props", flags);
	require(tags && tags->cValues == 1 && tags->aulPropTag[0] == PR_CONTENT_COUNT && flags == 0 && count && values);
	if (FAILED(hr))
		return hr;
	*count = 1;
	*values = allocate(sizeof(SPropValue));
	(*values)->ulPropTag = PR_CONTENT_COUNT;
	(*values)->Value.l = 7;
	if (GetEnvironmentVariableA("FAKEMAPI_PROP", value, sizeof value)) {
		(*values)->ulPropTag = PROP_TAG(PT_ERROR, PROP_ID(PR_CONTENT_COUNT));
		(*values)->Value.err = (SCODE)strtoul(value, NULL, 16);
		return MAPI_W_ERRORS_RETURNED;
	}
	return hr;
}

static IMAPIFolderVtbl folder_methods = {.Release = (void *)release, .GetProps = folder_get_props};
static IMAPIFolder folder = {&folder_methods};

/* The mailbox. */

static HRESULT WINAPI store_open_entry(IMsgStore *self, ULONG size, LPENTRYID entry, LPCIID iid, ULONG flags, ULONG *kind, LPUNKNOWN *out)
{
	(void)self;
	note("entry", flags);
	require(size == 0 && entry == NULL && iid == NULL && kind && (flags & ~0x200ul) == 0);
	*kind = MAPI_FOLDER;
	return give("ENTRY", &folder, (void **)out);
}

static IMsgStoreVtbl store_methods = {.Release = (void *)release, .OpenEntry = store_open_entry};
static IMsgStore store = {&store_methods};

/* The table of stores. */

static const char default_entry[] = "the default store";
static int stores, position;

static HRESULT WINAPI table_set_columns(IMAPITable *self, LPSPropTagArray tags, ULONG flags)
{
	(void)self;
	note("columns", flags);
	require(tags && tags->cValues == 2 && tags->aulPropTag[0] == PR_ENTRYID && tags->aulPropTag[1] == PR_DEFAULT_STORE);
	return told("COLUMNS", NULL);
}

static void fill(SRow *row, int last)
{
	const char *entry = last ? default_entry : "another store";
	row->cValues = 2;
	row->lpProps = allocate(2 * sizeof(SPropValue));
	row->lpProps[0].ulPropTag = PR_ENTRYID;
	row->lpProps[0].Value.bin.cb = (ULONG)strlen(entry);
	row->lpProps[0].Value.bin.lpb = (LPBYTE)entry;
	row->lpProps[1].ulPropTag = PR_DEFAULT_STORE;
	row->lpProps[1].Value.b = (unsigned short)last;
	if (position == 0 && !last) { /* a store that has no such property */
		row->lpProps[1].ulPropTag = PROP_TAG(PT_ERROR, PROP_ID(PR_DEFAULT_STORE));
		row->lpProps[1].Value.err = MAPI_E_NOT_FOUND;
	}
}

static HRESULT WINAPI table_query_rows(IMAPITable *self, LONG wanted, ULONG flags, LPSRowSet *out)
{
	int i, null, n = stores - position < wanted ? stores - position : (int)wanted;
	int has_default = !GetEnvironmentVariableA("FAKEMAPI_NONE", NULL, 0);
	HRESULT hr = told("ROWS", &null);
	(void)self;
	note("rows", flags);
	require(wanted > 0 && flags == 0 && out && !*out);
	if (FAILED(hr) || null)
		return hr;
	*out = allocate(CbNewSRowSet(n + 1));
	(*out)->cRows = (ULONG)n;
	for (i = 0; i < n; i++, position++)
		fill(&(*out)->aRow[i], has_default && position == stores - 1);
	return hr;
}

static IMAPITableVtbl table_methods = {.Release = (void *)release, .SetColumns = table_set_columns, .QueryRows = table_query_rows};
static IMAPITable table = {&table_methods};

/* The session. */

static HRESULT WINAPI session_get_stores(IMAPISession *self, ULONG flags, LPMAPITABLE *out)
{
	char count[16];
	(void)self;
	note("stores", flags);
	position = 0;
	stores = GetEnvironmentVariableA("FAKEMAPI_COUNT", count, sizeof count) ? atoi(count) : 2;
	return give("STORES", &table, (void **)out);
}

static HRESULT WINAPI session_open_store(IMAPISession *self, ULONG_PTR window, ULONG size, LPENTRYID entry, LPCIID iid, ULONG flags, LPMDB *out)
{
	(void)self;
	note("open", flags);
	require(window == 0 && iid == NULL && (flags & (MDB_WRITE | MAPI_BEST_ACCESS | MAPI_DEFERRED_ERRORS)) == 0 && (flags & MDB_NO_DIALOG));
	if (size != strlen(default_entry) || memcmp(entry, default_entry, size))
		return MAPI_E_INVALID_ENTRYID;
	return give("OPEN", &store, (void **)out);
}

static HRESULT WINAPI session_logoff(IMAPISession *self, ULONG_PTR window, ULONG flags, ULONG reserved)
{
	(void)self;
	note("logoff", flags);
	require(window == 0 && reserved == 0);
	return told("LOGOFF", NULL);
}

static IMAPISessionVtbl session_methods = {
	.Release = (void *)release,
	.GetMsgStoresTable = session_get_stores,
	.OpenMsgStore = session_open_store,
	.Logoff = session_logoff,
};
static IMAPISession session = {&session_methods};

/* The functions. */

HRESULT STDAPICALLTYPE EXPORT MAPIInitialize(LPVOID p)
{
	MAPIINIT_0 *init = p;
	require(init && init->ulVersion == MAPI_INIT_VERSION);
	note("initialize", init->ulFlags);
	return told("INITIALIZE", NULL);
}

void STDAPICALLTYPE EXPORT MAPIUninitialize(void)
{
	char left[64];
	note("uninitialize", 0);
	snprintf(left, sizeof left, "%ld buffers, %ld objects", buffers, objects);
	SetEnvironmentVariableA("FAKEMAPI_LEFT", left);
}

HRESULT STDMETHODCALLTYPE EXPORT MAPILogonEx(ULONG_PTR window, LPTSTR profile, LPTSTR password, ULONG flags, LPMAPISESSION *out)
{
	note("logon", flags);
	require(window == 0 && password == NULL && (flags & MAPI_UNICODE) && !(flags & MAPI_LOGON_UI));
	if (wcscmp((const WCHAR *)profile, L"B\u00fcro \U0001F4EC"))
		return MAPI_E_LOGON_FAILED;
	return give("LOGON", &session, (void **)out);
}

static void guard(void *methods, size_t size)
{
	void **slot = methods;
	size_t i;
	for (i = 0; i < size / sizeof *slot; i++)
		if (!slot[i])
			slot[i] = (void *)unexpected;
}

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, LPVOID reserved)
{
	(void)instance;
	(void)reserved;
	if (reason == DLL_PROCESS_ATTACH) {
		SetEnvironmentVariableA("FAKEMAPI_LOADED", "1");
		guard(&folder_methods, sizeof folder_methods);
		guard(&store_methods, sizeof store_methods);
		guard(&table_methods, sizeof table_methods);
		guard(&session_methods, sizeof session_methods);
	}
	return TRUE;
}
