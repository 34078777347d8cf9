// A .NET service whose library opens a mailbox by Extended MAPI, with the M365
// Token Broker beside it: it asks for a fresh sign-in before each logon, opens the
// mailbox whatever the answer was, and tells the broker how that went.
//
// .NET Framework 4.8 and .NET 8; C# 7. Extended MAPI has no managed API of
// Microsoft's, so the opening itself is whatever your library calls: it goes where
// OpenMailbox is. To try the rest without Outlook, name the HRESULTs that it
// shall give, one for each attempt:
//
//   Ensure TARGET [HRESULT …]        Ensure archive 0x8004011D 0
//
//   BROKER_URL       the broker's address (default http://127.0.0.1:8477)
//   BROKER_KEY_FILE  a file with the key, readable by the service's account only
//   BROKER_KEY       or the key itself; it never belongs into the source code

using System;
using System.Diagnostics;
using System.IO;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Runtime.InteropServices;
using System.Runtime.Serialization;
using System.Runtime.Serialization.Json;
using System.Text;
using System.Threading.Tasks;

namespace MapiSample
{
    /// <summary>The broker's side of one Outlook target.</summary>
    public sealed class OutlookTarget : IDisposable
    {
        private readonly HttpClient client;
        private readonly string path;
        private readonly Action<string> log;

        public OutlookTarget(string url, string key, string target, Action<string> log)
        {
            // No proxy: the broker is on this computer. ensure waits for up to 60 s.
            client = new HttpClient(new HttpClientHandler { UseProxy = false, AllowAutoRedirect = false })
            {
                BaseAddress = new Uri(url),
                Timeout = TimeSpan.FromSeconds(90),
            };
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
            path = "/v1/mapi/" + Uri.EscapeDataString(target);
            this.log = log;
        }

        /// <summary>
        /// Asks for a fresh sign-in of the Outlook profile behind the target, and waits
        /// for it. What it returns is good to know, and no reason not to try: an
        /// answer of 503 can come while the token is still good.
        /// </summary>
        public async Task<bool> EnsureAsync()
        {
            var watch = Stopwatch.StartNew();
            while (true)
            {
                try
                {
                    using (var answer = await client.PostAsync(path + "/ensure?wait=60", null).ConfigureAwait(false))
                    {
                        switch ((int)answer.StatusCode)
                        {
                            case 200: // fresh
                                return true;
                            case 202: // Outlook is at it
                                if (watch.Elapsed > TimeSpan.FromMinutes(3))
                                {
                                    log("Outlook has not finished yet; trying all the same");
                                    return false;
                                }
                                var pause = answer.Headers.RetryAfter?.Delta ?? TimeSpan.FromSeconds(15);
                                await Task.Delay(pause).ConfigureAwait(false);
                                continue;
                            default: // 409: a person must act, 501: it cannot work here, 503: later, 401, 403, 404: our own mistake
                                log("the broker says " + (int)answer.StatusCode + ": " + await DetailAsync(answer).ConfigureAwait(false));
                                return false;
                        }
                    }
                }
                catch (Exception e) when (e is HttpRequestException || e is TaskCanceledException)
                {
                    log("the broker does not answer; trying all the same");
                    return false;
                }
            }
        }

        /// <summary>
        /// Tells the broker how the opening went. There is no better probe than the
        /// program itself. That it cannot be told is no reason to stop.
        /// </summary>
        public async Task ReportAsync(int hresult, string operation)
        {
            var body = hresult < 0
                ? "{\"hresult\":\"0x" + hresult.ToString("X8") + "\",\"operation\":\"" + operation + "\"}"
                : "{\"ok\":true}";
            try
            {
                using (var content = new StringContent(body, Encoding.UTF8, "application/json"))
                using (var answer = await client.PostAsync(path + "/report", content).ConfigureAwait(false))
                {
                    if ((int)answer.StatusCode != 202)
                    {
                        log("the broker did not take the report: " + await DetailAsync(answer).ConfigureAwait(false));
                    }
                }
            }
            catch (Exception e) when (e is HttpRequestException || e is TaskCanceledException)
            {
                log("the broker did not take the report");
            }
        }

        public void Dispose()
        {
            client.Dispose();
        }

        [DataContract]
        private sealed class Problem
        {
            [DataMember(Name = "detail")]
            public string Detail { get; set; }
        }

        // The sentence of a problem (RFC 9457) that says what to do.
        private static async Task<string> DetailAsync(HttpResponseMessage answer)
        {
            try
            {
                var text = await answer.Content.ReadAsStringAsync().ConfigureAwait(false);
                using (var stream = new MemoryStream(Encoding.UTF8.GetBytes(text)))
                {
                    return ((Problem)new DataContractJsonSerializer(typeof(Problem)).ReadObject(stream))?.Detail;
                }
            }
            catch (SerializationException)
            {
                return "";
            }
        }
    }

    public static class Program
    {
        public static int Main(string[] args)
        {
            if (args.Length < 1)
            {
                Console.Error.WriteLine("usage: Ensure TARGET [HRESULT ...]");
                return 2;
            }
            return RunAsync(args).GetAwaiter().GetResult();
        }

        private static async Task<int> RunAsync(string[] args)
        {
            var url = Environment.GetEnvironmentVariable("BROKER_URL") ?? "http://127.0.0.1:8477";
            using (var target = new OutlookTarget(url, Key(), args[0], Console.Error.WriteLine))
            {
                for (var attempt = 1; attempt <= 3; attempt++)
                {
                    await target.EnsureAsync().ConfigureAwait(false); // joins what a report has begun
                    try
                    {
                        OpenMailbox(attempt < args.Length ? args[attempt] : "0");
                        await target.ReportAsync(0, "").ConfigureAwait(false);
                        Console.Error.WriteLine("the mailbox is open");
                        // The service's own work is here. An error of it is reported and
                        // retried in the same way.
                        return 0;
                    }
                    catch (Exception e) when (e is COMException || e is UnauthorizedAccessException) // the latter is E_ACCESSDENIED
                    {
                        Console.Error.WriteLine("OpenMsgStore failed with 0x{0:X8} (attempt {1})", e.HResult, attempt);
                        await target.ReportAsync(e.HResult, "OpenMsgStore").ConfigureAwait(false);
                    }
                }
                return 1;
            }
        }

        // OpenMailbox stands for the library: a new MAPI session for each attempt, as a
        // provider that failed at its logon stays off for the rest of a session.
        private static void OpenMailbox(string hresult)
        {
            var code = Convert.ToInt32(hresult, hresult.StartsWith("0x", StringComparison.Ordinal) ? 16 : 10);
            Marshal.ThrowExceptionForHR(code);
        }

        private static string Key()
        {
            var file = Environment.GetEnvironmentVariable("BROKER_KEY_FILE");
            var text = string.IsNullOrEmpty(file) ? Environment.GetEnvironmentVariable("BROKER_KEY") : File.ReadAllText(file);
            return (text ?? "").Trim();
        }
    }
}
