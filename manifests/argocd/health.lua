-- Health of Kinema's three kinds for Argo CD, which does not read kstatus: from Ready, Stalled and the generation.
local hs = { status = "Progressing", message = "Waiting for Kinema's operator" }
if obj.status == nil or obj.status.conditions == nil then
  return hs
end
if obj.metadata ~= nil and obj.metadata.generation ~= nil and obj.status.observedGeneration ~= nil
    and obj.status.observedGeneration < obj.metadata.generation then
  hs.message = "Waiting for Kinema's operator to see the last edit"
  return hs
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local ready, stalled = found["Ready"], found["Stalled"]
if stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = stalled.message or stalled.reason
elseif ready == nil then
  return hs
elseif ready.status == "True" then
  hs.status = "Healthy"
  hs.message = ready.reason
elseif ready.reason == "Suspended" then
  hs.status = "Suspended"
  hs.message = ready.message
elseif ready.reason == "UnreadableStatus" then
  hs.status = "Unknown"
  hs.message = ready.message
else
  hs.status = "Progressing"
  hs.message = ready.message ~= "" and ready.message or ready.reason
end
return hs
