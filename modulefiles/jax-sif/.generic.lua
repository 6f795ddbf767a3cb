-- The one body of every jax-sif module; the version files are links to it. Read by Lmod, on any node.
-- SPDX-License-Identifier: Apache-2.0

local name = myModuleName()
local version = myModuleVersion()
-- The tree that holds modulefiles/jax-sif/VERSION.lua.
local home = myFileName():match("^(.*)/[^/]+/[^/]+/[^/]+$")
local file = name .. "-" .. version .. ".sif"

-- An installed tree keeps its images in images/, a checkout builds them in build/.
local image = pathJoin(home, "images", file)
if not isFile(image) then
  image = pathJoin(home, "build", file)
end

-- The build writes what the image holds beside it, so that `module spider` can tell.
local function versions()
  local handle = io.open(image .. ".json")
  if not handle then
    return "image not built"
  end
  local text = handle:read("*a")
  handle:close()
  local found = {}
  for _, key in ipairs({ "jax", "jaxlib", "cuda", "cudnn", "nccl", "python" }) do
    local value = text:match('"' .. key .. '": *"([^"]*)"')
    if value then
      table.insert(found, key .. " " .. value)
    end
  end
  return table.concat(found, ", ")
end

whatis("Name: " .. name)
whatis("Version: " .. version)
whatis("Description: JAX in a container for GPU clusters, with proof that it works")
whatis("Contents: " .. versions())
whatis("Image: " .. image)

help([[
JAX in a Singularity/Apptainer image, started right on one GPU or many nodes.

  sbatch $JAX_SIF_HOME/jobs/allreduce.slurm     check the cluster: 8 GPUs, 2 nodes
  srun ... singularity run --nv $JAX_IMAGE python train.py      your own program
  jax-python train.py                           the same, shorter
  jax-sif info                                  what the image holds

JAX_IMAGE is the image, JAX_SIF_HOME the kit.]])

family("jax")

if mode() == "load" and not isFile(image) then
  local accel = version:match("%-(%w+)$") or "cuda12"
  LmodError("the image of " .. name .. "/" .. version .. " is missing: " .. image ..
    "\nbuild it: make -C " .. home .. " build-image ACCEL=" .. accel)
end

setenv("JAX_IMAGE", image)
setenv("JAX_SIF_HOME", home)
prepend_path("PATH", pathJoin(home, "bin"))

-- NCCL reads /etc/nccl.conf, which the container would hide. Appended to what the user
-- binds, under both names: different values make Apptainer warn in every rank.
if isFile("/etc/nccl.conf") then
  append_path("APPTAINER_BINDPATH", "/etc/nccl.conf", ",")
  append_path("SINGULARITY_BINDPATH", "/etc/nccl.conf", ",")
end
