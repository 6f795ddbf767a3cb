-- The one body of every jax-sif module; the version files are links to it. Read by Lmod, on any node.
-- SPDX-License-Identifier: Apache-2.0

local name = myModuleName()
local version = myModuleVersion()
local accel = version:match("%-(%w+)$") or "cuda12"

-- The tree that holds modulefiles/jax-sif/VERSION.lua. A centre may have linked that
-- folder into one of its own; then the tree is where the link points to.
local function tree(path)
  return path:match("^(.*)/[^/]+/[^/]+/[^/]+$") or ""
end
local home = tree(myFileName())
if not isFile(pathJoin(home, "bin", "jax-sif")) then
  home = tree(realpath(myFileName()))
end

-- An installed tree keeps its images in images/, a checkout builds them in build/.
local installed = isDir(pathJoin(home, "images"))
local image = pathJoin(home, installed and "images" or "build", name .. "-" .. version .. ".sif")

local function read(path)
  local handle, reason = io.open(path)
  if not handle then
    return nil, reason
  end
  local text = handle:read("*a")
  handle:close()
  return text
end

-- What the image holds, from the file that its build writes beside it.
local facts = read(image .. ".json") or ""
local function fact(key)
  return facts:match('"' .. key .. '": *"([^"]*)"')
end

local function versions()
  local found = {}
  for _, component in ipairs({ "JAX", "jaxlib", "CUDA", "cuDNN", "NCCL", "Python" }) do
    local value = fact(component:lower())
    if value then
      table.insert(found, component .. " " .. value)
    end
  end
  if #found > 0 then
    return table.concat(found, ", ")
  end
  return isFile(image) and "unknown (no " .. image .. ".json)" or "image not built"
end

whatis("Name: " .. name)
whatis("Version: " .. version)
whatis("Description: JAX in a container for GPU clusters, with proof that it works")
whatis("Contents: " .. versions())
if fact("built") then
  whatis("Built: " .. fact("built") .. ", revision " .. (fact("revision") or "unknown"))
end
whatis("Image: " .. image)

help([[
JAX in a Singularity/Apptainer image, started right on one GPU or many nodes.

  sbatch $JAX_SIF_ROOT/jobs/allreduce.slurm     check the cluster: 8 GPUs, 2 nodes
  srun ... singularity run --nv $JAX_IMAGE python train.py      your own program
  jax-python train.py                           the same, shorter
  jax-sif info                                  what the image holds

JAX_IMAGE is the image, JAX_SIF_ROOT the kit.

This version: ]] .. versions())

family("jax")

local function refuse(what, remedy)
  LmodError("the image of " .. name .. "/" .. version .. " " .. what .. "\n" .. remedy)
end

-- Only a load needs the image: show, help, whatis, spider and unload work without.
if mode() == "load" and not isFile(image) then
  refuse("is missing: " .. image, installed
    and "install it, in a checkout of the kit: make build-image install ACCEL=" .. accel ..
      " PREFIX='" .. home .. "'"
    or "build it: make -C '" .. home .. "' build-image ACCEL=" .. accel)
elseif mode() == "load" then
  local handle, reason = io.open(image)
  if not handle then
    refuse("cannot be read: " .. reason, "ask its owner for: chmod a+r '" .. image .. "'")
  end
  handle:close()
end

-- pushenv, because an unload gives back what the user had there before.
pushenv("JAX_IMAGE", image)
pushenv("JAX_SIF_ROOT", home)
prepend_path("PATH", pathJoin(home, "bin"))

-- NCCL reads /etc/nccl.conf, which the container would hide.
local function bind(path)
  local apptainer, singularity = "APPTAINER_BINDPATH", "SINGULARITY_BINDPATH"
  local neither = not os.getenv(apptainer) and not os.getenv(singularity)
  for _, variable in ipairs({ apptainer, singularity }) do
    -- Apptainer ignores the second name where it finds the first. So where the user has
    -- set only one, making the other would take the user's binds away.
    if mode() == "unload" or neither or os.getenv(variable) then
      append_path(variable, path, ",")
    end
  end
end
-- Unloaded on a compute node, perhaps, which may lack the file that the login node has.
if mode() == "unload" or isFile("/etc/nccl.conf") then
  bind("/etc/nccl.conf")
end
