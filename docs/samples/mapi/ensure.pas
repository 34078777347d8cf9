// The broker's side of an Extended MAPI consumer in Delphi (XE8 or later, for
// System.Net.HttpClient).
//
// NOT COMPILED: this project has no Delphi compiler. ensure.cpp and Ensure.cs do
// the same and are compiled and run by its tests; where this one differs from
// them, they are right.
unit Ensure;

interface

type
  // One Outlook target of the broker on this computer.
  TOutlookTarget = class
  private
    FBase, FKey: string;
    function Post(const Verb, Body: string; out RetryAfter: Integer; out Detail: string): Integer;
  public
    // Key is what `broker consumers add` printed. It comes from a file that only
    // the service's account can read, or from its environment, never from the
    // source code.
    constructor Create(const Url, Key, Target: string);
    // Asks for a fresh sign-in of the Outlook profile behind the target, and waits
    // for it. What it returns is good to know, and no reason not to call
    // MAPILogonEx: an answer of 503 can come while the token is still good.
    // Sentence says why it is not fresh, for the log.
    function Ensure(out Sentence: string): Boolean;
    // Tells the broker how the opening went: S_OK, or what the call Operation gave.
    procedure Report(HResult: HRESULT; const Operation: string);
  end;

implementation

uses
  System.SysUtils, System.Classes, System.JSON, System.Net.URLClient, System.Net.HttpClient;

constructor TOutlookTarget.Create(const Url, Key, Target: string);
begin
  inherited Create;
  FBase := Url + '/v1/mapi/' + Target + '/';
  FKey := Key;
end;

// Returns the status, or 0 where the broker does not answer.
function TOutlookTarget.Post(const Verb, Body: string; out RetryAfter: Integer; out Detail: string): Integer;
var
  Client: THTTPClient;
  Content: TStringStream;
  Answer: IHTTPResponse;
  Headers: TNetHeaders;
  Problem: TJSONValue;
begin
  RetryAfter := 0;
  Detail := '';
  Client := THTTPClient.Create;
  Content := TStringStream.Create(Body, TEncoding.UTF8);
  try
    Client.ProxySettings := TProxySettings.Create('http://direct'); // the broker is on this computer
    Client.HandleRedirects := False;
    Client.ConnectionTimeout := 5000;
    Client.ResponseTimeout := 90000; // ensure waits for up to 60 s
    Headers := [TNetHeader.Create('Authorization', 'Bearer ' + FKey)];
    if Body <> '' then
      Headers := Headers + [TNetHeader.Create('Content-Type', 'application/json')];
    try
      Answer := Client.Post(FBase + Verb, Content, nil, Headers);
    except
      on ENetHTTPClientException do
        Exit(0);
    end;
    Result := Answer.StatusCode;
    RetryAfter := StrToIntDef(Answer.HeaderValue['Retry-After'], 0);
    Problem := TJSONObject.ParseJSONValue(Answer.ContentAsString(TEncoding.UTF8));
    try
      if Problem <> nil then
        Problem.TryGetValue<string>('detail', Detail);
    finally
      Problem.Free;
    end;
  finally
    Content.Free;
    Client.Free;
  end;
end;

function TOutlookTarget.Ensure(out Sentence: string): Boolean;
var
  Attempt, Status, RetryAfter: Integer;
begin
  for Attempt := 1 to 3 do // each waits for up to a minute
  begin
    Status := Post('ensure?wait=60', '', RetryAfter, Sentence);
    case Status of
      200: // fresh
        Exit(True);
      202: // Outlook is at it
        begin
          Sentence := 'Outlook has not finished yet';
          if RetryAfter = 0 then
            RetryAfter := 15;
          Sleep(RetryAfter * 1000);
        end;
      0:
        begin
          Sentence := 'the broker does not answer';
          Exit(False);
        end;
    else // 409: a person must act, 501: it cannot work here, 503: later, 401, 403, 404: our own mistake
      Exit(False);
    end;
  end;
  Result := False;
end;

procedure TOutlookTarget.Report(HResult: HRESULT; const Operation: string);
var
  RetryAfter: Integer;
  Body, Detail: string;
begin
  if Succeeded(HResult) then
    Body := '{"ok":true}'
  else
    Body := Format('{"hresult":"0x%.8x","operation":"%s"}', [Cardinal(HResult), Operation]);
  Post('report', Body, RetryAfter, Detail); // that it cannot be told is no reason to stop
end;

// In the service, for each logon, three attempts at most:
//
//   Target.Ensure(Sentence);                    // whatever it returns: try
//   Result := MAPILogonEx(0, PProfile, nil,     // a new session for each attempt
//     MAPI_EXTENDED or MAPI_NEW_SESSION or MAPI_EXPLICIT_PROFILE or MAPI_NO_MAIL or MAPI_UNICODE or MAPI_NT_SERVICE, Session);
//   Target.Report(Result, 'MAPILogonEx');
//   ... OpenMsgStore, and Report again

end.
