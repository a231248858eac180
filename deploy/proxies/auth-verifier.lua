-- Asks auth-verifier who is calling. A good verdict puts the caller's id on the request; a refusal is the answer.
-- Anything else leaves the request without an id, and haproxy.cfg forwards none without.

-- The socket of `listen auth-verifier`, which bounds the question more tightly than this does.
local ADDRESS = "abns@auth-verifier"
local TIMEOUT_MS = 5000

local QUESTION = {
    "authorization", "cookie", "x-request-id",
    "x-forwarded-method", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri",
}
local IDENTITY = { "x-user-id", "x-user-email", "x-user-email-verified", "x-credential", "x-identity-assertion" }
local REFUSAL = { "content-type", "www-authenticate", "cache-control" }

core.register_action("ask-auth-verifier", { "http-req" }, function(txn)
    local sent, question = txn.http:req_get_headers(), {}
    for _, name in ipairs(QUESTION) do
        question[name] = sent[name]
    end
    local verdict = core.httpclient():get({
        url = "http://auth-verifier/verify", dst = ADDRESS, headers = question, timeout = TIMEOUT_MS,
    })

    if verdict.status == 200 then
        for _, name in ipairs(IDENTITY) do
            local values = verdict.headers[name]
            -- Two of one name are none.
            if values and not values[1] then
                txn.http:req_set_header(name, values[0])
            end
        end
    elseif verdict.status == 401 or verdict.status == 403 then
        local refusal = txn:reply({ status = verdict.status, body = verdict.body })
        for _, name in ipairs(REFUSAL) do
            local values = verdict.headers[name]
            if values then
                refusal:add_header(name, values[0])
            end
        end
        txn:done(refusal)
    end
end)
