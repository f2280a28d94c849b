# Snakemake deletes the declared outputs of a failed job. So the state of a running job is in an
# undeclared folder beside its outputs, and a killed job continues from it.


rule pretrain:
    input:
        data=f"data/{scale.data.dataset}.safetensors",
    output:
        weights="<results>/pretrain/{network}/seed-{seed}/weights.safetensors",
        record="<results>/pretrain/{network}/seed-{seed}/metrics.json",
    log:
        "<results>/logs/pretrain/{network}/seed-{seed}.log",
    benchmark:
        "<results>/benchmarks/pretrain/{network}/seed-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: scale.resources.threads
    resources:
        gpu=scale.resources.gpu,
        processes=max(1, scale.resources.gpu),
        mem_mb=scale.resources.mem_mb,
        runtime=scale.resources.minutes.pretrain,
    params:
        settings=settings("pretrain"),
        scale=scale.scale,
        code=code("pretrain"),
    shell:
        "sbs pretrain --network {wildcards.network} --seed {wildcards.seed}"
        " --scale {params.scale} --settings {params.settings:q} --data {input.data}"
        " --weights {output.weights} --record {output.record} --threads {threads} --processes {resources.processes}"
        " > {log} 2>&1"


rule search:
    input:
        data=f"data/{scale.data.dataset}.safetensors",
        pretrained=pretrained_weights,
        costs=cost_file,
    output:
        policy="<results>/search/{network}/{method}/{variant}/seed-{seed}/policy.json",
        weights="<results>/search/{network}/{method}/{variant}/seed-{seed}/weights.safetensors",
        record="<results>/search/{network}/{method}/{variant}/seed-{seed}/search.json",
    log:
        "<results>/logs/search/{network}/{method}/{variant}/seed-{seed}.log",
    benchmark:
        "<results>/benchmarks/search/{network}/{method}/{variant}/seed-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: scale.resources.threads
    resources:
        gpu=scale.resources.gpu,
        processes=max(1, scale.resources.gpu),
        mem_mb=scale.resources.mem_mb,
        runtime=scale.resources.minutes.search,
    params:
        settings=settings("search"),
        scale=scale.scale,
        pretrained=lambda wildcards, input: (
            f"--pretrained {input.pretrained}" if input.pretrained else ""
        ),
        code=code("search"),
    shell:
        "sbs search --network {wildcards.network} --method {wildcards.method}"
        " --variant {wildcards.variant} --seed {wildcards.seed} --scale {params.scale}"
        " --settings {params.settings:q} --data {input.data} {params.pretrained}"
        " --policy {output.policy} --weights {output.weights} --record {output.record}"
        " --threads {threads} --processes {resources.processes} > {log} 2>&1"


rule finetune:
    input:
        data=f"data/{scale.data.dataset}.safetensors",
        policy="<results>/search/{network}/{method}/{variant}/seed-{seed}/policy.json",
        start=starting_weights,
    output:
        weights="<results>/finetune/{network}/{method}/{variant}/seed-{seed}/weights.safetensors",
        record="<results>/finetune/{network}/{method}/{variant}/seed-{seed}/metrics.json",
    log:
        "<results>/logs/finetune/{network}/{method}/{variant}/seed-{seed}.log",
    benchmark:
        "<results>/benchmarks/finetune/{network}/{method}/{variant}/seed-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: scale.resources.threads
    resources:
        gpu=scale.resources.gpu,
        processes=max(1, scale.resources.gpu),
        mem_mb=scale.resources.mem_mb,
        runtime=scale.resources.minutes.finetune,
    params:
        settings=settings("finetune"),
        scale=scale.scale,
        code=code("finetune"),
    shell:
        "sbs finetune --network {wildcards.network} --method {wildcards.method}"
        " --variant {wildcards.variant} --seed {wildcards.seed} --scale {params.scale}"
        " --settings {params.settings:q} --data {input.data} --policy {input.policy}"
        " --start {input.start} --weights {output.weights} --record {output.record}"
        " --threads {threads} --processes {resources.processes} > {log} 2>&1"
