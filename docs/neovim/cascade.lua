--- Ghost text from `cascade serve` in Neovim 0.11. How to install and map it: docs/editors.md.
---
--- At most one suggestion is shown, at the cursor, in Insert mode. It stays as long as what is
--- typed agrees with it. Neovim's own client does the rest: documents, diagnostics, code actions.

local api = vim.api

local M = {}

local METHOD = "textDocument/inlineCompletion"
local INVOKED, AUTOMATIC = 1, 2
local GHOSTS = api.nvim_create_namespace("cascade")
local SIGNS = { Normal = "", Warning = "!", Inactive = "-" }
local OF_A_FUNCTION = { verifyFunction = true, replaceFunction = true }

---@class cascade.Options
---@field cmd? string[] what starts the server
---@field settings? table the tree of docs/settings.md, such as { completion = { verify = false } }
---@field debounce_ms? integer how long the keys must rest before the server is asked
local options = { cmd = { "cascade", "serve" }, debounce_ms = 75 }

---@class cascade.Item
---@field head string what stands in the line before the range that is replaced
---@field text string what replaces it
---@field over integer how many bytes of the range lie behind the cursor
---@field raw table the item as the server sent it

---@class cascade.Ghost
---@field client vim.lsp.Client
---@field buf integer
---@field row integer
---@field behind string what stands in the line behind the cursor
---@field items cascade.Item[]
---@field index integer

local ghost ---@type cascade.Ghost?
local pending ---@type { client: vim.lsp.Client, id: integer, place: table }?
local light ---@type { busy: boolean, message: string, kind: string }?
local timer = assert(vim.uv.new_timer())

-- The place, and what fits there --------------------------------------------------------------

local function here()
  local row, col = unpack(api.nvim_win_get_cursor(0))
  local buf = api.nvim_get_current_buf()
  local tick = api.nvim_buf_get_changedtick(buf)
  return { buf = buf, tick = tick, row = row - 1, col = col, line = api.nvim_get_current_line() }
end

--- Return what is left of the suggestion at the cursor; nil where none fits.
local function remainder()
  local item, now = ghost and ghost.items[ghost.index], here()
  if not item or now.buf ~= ghost.buf or now.row ~= ghost.row then
    return nil
  end
  local before, behind = now.line:sub(1, now.col), now.line:sub(now.col + 1)
  if behind ~= ghost.behind or not vim.startswith(before, item.head) then
    return nil
  end
  local typed = before:sub(#item.head + 1)
  local fits = vim.startswith(item.text, typed) and typed ~= item.text
  return fits and item.text:sub(#typed + 1) or nil
end

--- Return the first word or line of a text with the space before it, or all of it.
local function first(text, unit)
  if unit == "word" then
    local word, symbols = "^%s*[%w_\128-\255]+", "^%s*[^%w_%s\128-\255]+"
    return text:match(word) or text:match(symbols) or text
  end
  return unit == "line" and text:match("^%s*[^\n]*") or text
end

-- What is on the screen -----------------------------------------------------------------------

local function hide()
  if ghost and api.nvim_buf_is_valid(ghost.buf) then
    api.nvim_buf_clear_namespace(ghost.buf, GHOSTS, 0, -1)
  end
  ghost = nil
end

--- Show what is left of the suggestion at the cursor, or hide what no longer fits.
local function draw()
  local left = remainder()
  if not left then
    return hide()
  end
  local text = left:gsub("\t", (" "):rep(vim.bo.tabstop))
  local lines = vim.tbl_map(function(line)
    return { { line, "CascadeGhost" } }
  end, vim.split(text, "\n"))
  local now = here()
  api.nvim_buf_set_extmark(ghost.buf, GHOSTS, now.row, now.col, {
    id = 1,
    virt_text = table.remove(lines, 1),
    virt_text_pos = "inline",
    virt_lines = lines,
  })
end

--- Tell the server what became of the suggestion.
local function tell(method, more)
  local item = ghost.items[ghost.index].raw
  ghost.client:notify(method, vim.tbl_extend("error", { item = item }, more or {}))
end

-- Asking --------------------------------------------------------------------------------------

local function client_of(buf)
  return vim.lsp.get_clients({ name = "cascade", bufnr = buf })[1]
end

local function cancel()
  timer:stop()
  if pending then
    pending.client:cancel_request(pending.id)
    pending = nil
  end
end

local function stop()
  cancel()
  hide()
end

--- Take an answer; our server always names a range on the cursor's line.
local function present(client, place, kind, result)
  local before = remainder()
  if before and ghost.index > 1 and kind == AUTOMATIC then
    return -- the user has chosen another suggestion than the first
  end
  local function bytes(position)
    return vim.str_byteindex(place.line, client.offset_encoding, position.character, false)
  end
  local items = {}
  for _, raw in ipairs(result and result.items or {}) do
    local start, stop_at = bytes(raw.range.start), bytes(raw.range["end"])
    local head, over = place.line:sub(1, start), stop_at - place.col
    table.insert(items, { head = head, text = raw.insertText, over = over, raw = raw })
  end
  hide()
  local behind = place.line:sub(place.col + 1)
  ghost = { client = client, buf = place.buf, row = place.row, behind = behind }
  ghost.items, ghost.index = items, 1
  draw()
  if ghost and remainder() ~= before then
    tell("textDocument/didShowCompletion")
  end
end

--- Ask for the place of the cursor; only the latest request is answered.
local function request(kind)
  cancel()
  local place = here()
  local client = client_of(place.buf)
  local inserting = vim.startswith(api.nvim_get_mode().mode, "i")
  if not client or not inserting or vim.fn.pumvisible() == 1 then
    return
  end
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.textDocument.version = vim.lsp.util.buf_versions[place.buf]
  params.context = { triggerKind = kind }
  local asked = { client = client, place = place }
  local sent, id = client:request(METHOD, params, function(err, result)
    if pending == asked then
      pending = nil
      if not err and vim.deep_equal(place, here()) then
        present(client, place, kind, result)
      end
    end
  end, place.buf)
  if sent then
    asked.id, pending = id, asked
  end
end

--- Keep what still fits, and ask once the keys rest.
local function refresh()
  draw()
  if pending and vim.deep_equal(pending.place, here()) then
    return
  end
  cancel()
  timer:start(options.debounce_ms, 0, vim.schedule_wrap(function()
    request(AUTOMATIC)
  end))
end

--- Ask again where the shown suggestion has got better: only if nothing has changed since.
local function improved(_, params, context)
  local client = vim.lsp.get_client_by_id(context.client_id)
  if not client or not remainder() then
    return
  end
  local now = vim.lsp.util.make_position_params(0, client.offset_encoding)
  local same = now.textDocument.uri == params.uri
    and vim.lsp.util.buf_versions[ghost.buf] == params.version
    and vim.deep_equal(now.position, params.range["end"])
  if same then
    request(AUTOMATIC)
  end
end

-- What is mapped ------------------------------------------------------------------------------

--- Say whether a suggestion is shown.
function M.shown()
  return remainder() ~= nil
end

--- Insert the suggestion, or only its first "word" or "line".
---@param unit? "word"|"line"
function M.accept(unit)
  local left, now = remainder(), here()
  if not left then
    return
  end
  local item, client, part = ghost.items[ghost.index], ghost.client, first(left, unit)
  local whole, lines = part == left, vim.split(part, "\n")
  local end_col = now.col + (whole and item.over or 0)
  api.nvim_buf_set_text(now.buf, now.row, now.col, now.row, end_col, lines)
  local last = #lines[#lines] + (#lines == 1 and now.col or 0)
  api.nvim_win_set_cursor(0, { now.row + #lines, last })
  if whole then
    stop()
    client:exec_cmd(item.raw.command, { bufnr = now.buf })
    return
  end
  local full, head = item.raw.insertText, api.nvim_get_current_line():sub(1, last)
  local rest = { head = head, text = left:sub(#part + 1), over = item.over, raw = item.raw }
  ghost.row, ghost.items, ghost.index = now.row + #lines - 1, { rest }, 1
  draw()
  local taken = vim.str_utfindex(full, "utf-16", #full - #rest.text)
  tell("textDocument/didPartiallyAcceptCompletion", { acceptedLength = taken })
end

--- Show the next suggestion that fits, or with a negative step the one before.
---@param step integer
function M.cycle(step)
  if not M.shown() then
    return
  end
  repeat
    ghost.index = (ghost.index - 1 + step) % #ghost.items + 1
  until remainder()
  draw()
  tell("textDocument/didShowCompletion")
end

--- Ask for the answer of the whole cascade, which can take a while.
function M.trigger()
  request(INVOKED)
end

--- Refuse the suggestion.
function M.dismiss()
  if M.shown() then
    tell("cascade/didRejectCompletion")
  end
  stop()
end

--- Return what the server is doing, for a status line; nothing where it does not run.
function M.status()
  if not light then
    return ""
  end
  local sign = light.busy and "…" or SIGNS[light.kind] or ""
  return vim.trim(("Cascade%s %s"):format(sign, light.message))
end

-- Commands ------------------------------------------------------------------------------------

local function scratch(text, filetype)
  vim.cmd.new()
  vim.bo.buftype, vim.bo.bufhidden, vim.bo.swapfile = "nofile", "wipe", false
  api.nvim_buf_set_lines(0, 0, -1, false, vim.split(text, "\n"))
  vim.bo.modifiable, vim.bo.filetype = false, filetype
end

--- Run a command of the server and show its answer.
local function run(name, arguments)
  local client = client_of(0)
  if not client then
    return vim.notify("Cascade does not serve this buffer.", vim.log.levels.WARN)
  end
  if OF_A_FUNCTION[name] then
    local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
    local at = params.position
    arguments = { params.textDocument.uri, tostring(at.line), tostring(at.character) }
  end
  local command = { title = name, command = "cascade." .. name, arguments = arguments }
  client:exec_cmd(command, {}, function(err, result)
    if err then
      vim.notify(err.message, vim.log.levels.ERROR)
    elseif type(result) ~= "table" then
      vim.notify(tostring(result))
    elseif result.markdown then
      scratch(result.markdown, "markdown")
    elseif result.verdict then
      vim.notify(result.verdict)
    else
      scratch(vim.inspect(result), "lua")
    end
  end)
end

local function command_names()
  local client = client_of(0)
  local provider = client and client.server_capabilities.executeCommandProvider
  return vim.tbl_map(function(name)
    return (name:gsub("^cascade%.", ""))
  end, provider and provider.commands or {})
end

local function make_commands()
  api.nvim_create_user_command("Cascade", function(call)
    run(call.fargs[1], vim.list_slice(call.fargs, 2))
  end, {
    nargs = "+",
    complete = function(lead)
      return vim.tbl_filter(function(name)
        return vim.startswith(name, lead)
      end, command_names())
    end,
    desc = "Run a command of the Cascade server",
  })
  api.nvim_create_user_command("CascadeExplain", function(call)
    run("explainEscalation", call.fargs)
  end, { nargs = "?", desc = "Explain a decision of Cascade, or the last one" })
end

-- Setting up ----------------------------------------------------------------------------------

--- Serve every buffer that holds a file; call this once.
---@param given? cascade.Options
function M.setup(given)
  options = vim.tbl_extend("force", options, given or {})
  vim.lsp.config("cascade", {
    cmd = options.cmd,
    init_options = options.settings,
    capabilities = { textDocument = { inlineCompletion = { dynamicRegistration = false } } },
    handlers = {
      ["cascade/improved"] = improved,
      didChangeStatus = function(_, status)
        light = status
        vim.cmd.redrawstatus()
      end,
    },
    on_init = function()
      light = { busy = false, message = "", kind = "Normal" }
    end,
    on_exit = vim.schedule_wrap(function()
      light, pending = nil, nil
      stop()
    end),
  })
  vim.lsp.enable("cascade")
  api.nvim_set_hl(0, "CascadeGhost", { link = "Comment", default = true })
  local group = api.nvim_create_augroup("cascade", {})
  local function on(events, callback)
    api.nvim_create_autocmd(events, { group = group, callback = callback })
  end
  on({ "InsertEnter", "TextChangedI", "CursorMovedI", "LspAttach" }, refresh)
  on({ "InsertLeave", "BufLeave", "TextChangedP" }, stop) -- with a menu open there is no ghost
  make_commands()
end

return M
