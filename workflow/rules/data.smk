rule fetch:
    output:
        data="data/{dataset}.safetensors",
    log:
        "logs/fetch/{dataset}.log",
    conda:
        "../../environment.yml"
    params:
        directory=f"--directory {scale.data.directory}" if scale.data.directory else "",
        code=lambda wildcards: source_digest(
            "sbs.data.fetch", dataset(wildcards.dataset).module
        ),
    shell:
        "sbs fetch {wildcards.dataset} --output {output.data} {params.directory} > {log} 2>&1"
