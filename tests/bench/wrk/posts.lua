-- Posts one body after another: wrk ... -- FILE, where each line of the file is an
-- access token, a tab and a body.  What is sent is made before the run begins.
local sent, n, i = {}, 0, 0

function init(args)
  for line in io.lines(args[1]) do
    local token, body = line:match("^([^\t]*)\t(.*)$")
    n = n + 1
    sent[n] = wrk.format("POST", nil, {
      ["Authorization"] = "Bearer " .. token,
      ["Content-Type"] = "application/json",
    }, body)
  end
end

function request()
  i = i % n + 1
  return sent[i]
end
