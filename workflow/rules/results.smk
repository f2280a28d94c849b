# From finished runs: one table per selection of runs, and exported networks.


rule collect:
    input:
        records=records,
    output:
        runs="<results>/runs/{selection}.csv",
    log:
        "<results>/logs/collect/{selection}.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.results.collect"),
    shell:
        "sbs collect {input.records} --output {output.runs} > {log} 2>&1"


rule export:
    input:
        policy="<results>/search/{network}/{method}/{variant}/seed-{seed}/policy.json",
        weights="<results>/finetune/{network}/{method}/{variant}/seed-{seed}/weights.safetensors",
    output:
        network="<results>/export/{network}/{method}/{variant}/seed-{seed}/network.safetensors",
        sizes="<results>/export/{network}/{method}/{variant}/seed-{seed}/sizes.json",
    log:
        "<results>/logs/export/{network}/{method}/{variant}/seed-{seed}.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.stages.export"),
    shell:
        "sbs export --policy {input.policy} --weights {input.weights}"
        " --output {output.network} --sizes {output.sizes} > {log} 2>&1"


rule latency:
    input:
        policy="<results>/search/{network}/{method}/{variant}/seed-{seed}/policy.json",
        weights="<results>/finetune/{network}/{method}/{variant}/seed-{seed}/weights.safetensors",
    output:
        latency="<results>/export/{network}/{method}/{variant}/seed-{seed}/latency.json",
    log:
        "<results>/logs/latency/{network}/{method}/{variant}/seed-{seed}.log",
    conda:
        "../../environment.yml"
    params:
        image_size=dataset(scale.data.dataset).image[-1],
        code=source_digest("sbs.stages.latency"),
    shell:
        "sbs latency --policy {input.policy} --weights {input.weights}"
        " --image-size {params.image_size} --output {output.latency} > {log} 2>&1"
