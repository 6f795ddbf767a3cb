"""The options of sbatch, srun and apptainer, and which of them have a value."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.lint.options import table

# Tested with Slurm 26.05 one by one; then those of older versions.
_OLDER_ALWAYS = (
    "power tres-per-job tres-per-node tres-per-socket umask workdir immediate"
)

# Of common plug-ins: Pyxis, the Container Engine, uenv, Shifter.
_PLUGINS_ALWAYS = """
    container-image container-mounts container-workdir container-name container-save
    container-env environment uenv view image volume module
"""
_PLUGINS_NEVER = """
    container-mount-home no-container-mount-home container-remap-root
    no-container-remap-root container-entrypoint no-container-entrypoint
    container-entrypoint-log container-writable container-readonly
"""

SBATCH = table(
    always="""
    account acctg-freq array autocomplete batch bb bbf begin chdir cluster-constraint
    clusters comment constraint container container-id container-type context core-spec
    cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency
    distribution error exclude export export-file extra extra-node-info gid gpu-bind
    gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint input
    job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind
    mem-per-cpu mem-per-gpu mem-update mincpus network nodefile nodelist nodes ntasks
    ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket ntasks-per-tres
    open-mode output partition prefer priority profile qos reservation resources segment
    signal sockets-per-node switches thread-spec threads-per-core time time-min tmp
    tres-bind tres-per-task uid wait-all-nodes wckey wrap jobid
    """
    + _PLUGINS_ALWAYS
    + _OLDER_ALWAYS,
    maybe="""
    exclusive get-user-env nice no-kill oom-kill-step propagate requeue resv-ports x11
    """,
    never="""
    consolidate-segments contiguous external help hold ignore-pbs no-requeue overcommit
    oversubscribe parsable quiet reboot share spread-job spread-segments stepmgr
    test-only usage use-min-nodes verbose version wait
    """
    + _PLUGINS_NEVER,
    short="""
    a=array b=begin c=cpus-per-task d=dependency e=error i=input m=distribution n=ntasks
    o=output p=partition q=qos t=time w=nodelist x=exclude A=account B=extra-node-info
    C=constraint D=chdir F=nodefile G=gpus J=job-name L=licenses M=clusters N=nodes
    S=core-spec h=help k=no-kill s=oversubscribe v=verbose H=hold O=overcommit Q=quiet
    V=version W=wait I=immediate
    """,
    other_names="tasks-per-node=ntasks-per-node cluster=clusters",
)

SRUN = table(
    always="""
    accel-bind account acctg-freq autocomplete bb bbf bcast-exclude begin chdir
    cluster-constraint clusters comment constraint container container-id container-type
    context core-spec cores-per-socket cpu-bind cpu-freq cpus-per-gpu cpus-per-task
    deadline delay-boot dependency distribution epilog error exclude export extra
    extra-node-info gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task
    gres gres-flags het-group hint ignore-signals input job-name jobid licenses mail-type
    mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mem-update mincpus mpi
    msg-timeout network nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu
    ntasks-per-node ntasks-per-socket ntasks-per-tres open-mode partition prefer output
    priority profile prolog qos relative reservation resources segment signal
    slurmd-debug sockets-per-node switches task-epilog task-prolog thread-spec threads
    threads-per-core time time-min tmp treewidth tres-bind tres-per-task wait wckey
    """
    + _PLUGINS_ALWAYS
    + _OLDER_ALWAYS.replace(" immediate", ""),
    maybe="""
    bcast compress exclusive external-launcher immediate kill-on-bad-exit nice no-kill
    oom-kill-step overlap propagate pty resv-ports send-libs x11
    """,
    never="""
    async consolidate-segments contiguous debugger-test disable-status exact help hold
    interactive label multi-prog no-allocate overcommit oversubscribe parsable
    preserve-env quiet quit-on-interrupt reboot share spread-job spread-segments stepmgr
    test-only unbuffered usage use-min-nodes verbose version wait-for-children whole
    """
    + _PLUGINS_NEVER,
    short="""
    b=begin c=cpus-per-task d=dependency e=error i=input m=distribution n=ntasks o=output
    p=partition q=qos r=relative t=time w=nodelist x=exclude A=account B=extra-node-info
    C=constraint D=chdir F=nodefile G=gpus J=job-name L=licenses M=clusters N=nodes
    S=core-spec T=threads W=wait h=help k=no-kill l=label s=oversubscribe u=unbuffered
    v=verbose E=preserve-env H=hold I=immediate K=kill-on-bad-exit O=overcommit Q=quiet
    V=version X=disable-status Z=no-allocate
    """,
    other_names="""
    tasks-per-node=ntasks-per-node cluster=clusters cpu_bind=cpu-bind
    pack-group=het-group
    """,
)

# Of Apptainer 1.4, then those of SingularityCE.
APPTAINER = table(
    always="""
    add-caps app apply-cgroups authfile bind blkio-weight blkio-weight-device cpu-shares
    cpus cpuset-cpus cpuset-mems cwd dns docker-host drop-caps env env-file fusemount
    home hostname memory memory-reservation memory-swap mount netns-path network
    network-args no-mount overlay pem-path pids-limit runscript-timeout scratch security
    workdir shell pwd config
    """,
    never="""
    allow-setuid cleanenv compat contain containall disable-cache docker-login fakeroot
    help ipc keep-privs net no-eval no-home no-https no-init no-pid no-privs no-umask nv
    nvccli oom-kill-disable passphrase pid rocm sharens unsquash userns uts writable
    writable-tmpfs vm nohttps oci no-compat underlay debug nocolor quiet silent verbose
    """,
    short="""
    B=bind e=cleanenv c=contain C=containall f=fakeroot h=help H=home i=ipc n=net
    o=overlay p=pid S=scratch u=userns W=workdir w=writable d=debug q=quiet s=silent
    v=verbose
    """,
)
