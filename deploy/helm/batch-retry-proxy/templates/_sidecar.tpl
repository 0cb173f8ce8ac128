{{/*
The sidecar, for users' charts. Each template takes the root context `$` of the calling chart, or a dict with "root" and, where the chart has
several of these, "alias".

    spec:
      template:
        {{- include "batch-retry-proxy.podTemplate" (dict "root" $ "template" (include "mychart.podTemplate" $)) | nindent 4 }}

podTemplate gives back a pod template with everything added, podSpec a pod spec. Both take text or a dict, and both leave alone what is there
already. The pieces they are made of are for charts that put their pods together by hand.
*/}}

{{/* Labels of the pod and of the workload: monitors select by them. */}}
{{- define "batch-retry-proxy.podLabels" -}}
{{- $call := dict "in" . -}}{{- include "batch-retry-proxy._open" $call -}}
{{- if $call.context.Values.sidecar.enabled -}}
batch-retry-proxy: enabled
{{- end -}}
{{- end -}}

{{/* The checksum rolls the pods when the settings change; scrape annotations where the values ask for them. */}}
{{- define "batch-retry-proxy.podAnnotations" -}}
{{- $call := dict "in" . -}}{{- include "batch-retry-proxy._open" $call -}}
{{- $chart := $call.context -}}
{{- if $chart.Values.sidecar.enabled -}}
checksum/batch-retry-proxy: {{ include "batch-retry-proxy._settings" $chart | sha256sum }}
{{- if $chart.Values.monitoring.annotations.enabled }}
{{ include "batch-retry-proxy._scrape" $chart }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The proxy's container: the first of initContainers, or with sidecar.native=false the first of containers. */}}
{{- define "batch-retry-proxy.container" -}}
{{- $call := dict "in" . -}}{{- include "batch-retry-proxy._open" $call -}}
{{- $chart := $call.context -}}
{{- $sidecar := $chart.Values.sidecar -}}
{{- $version := $chart.Capabilities.KubeVersion.Version -}}
{{- if and $sidecar.native (semverCompare "<1.29.0-0" $version) -}}
{{- fail (printf "sidecar.native needs Kubernetes 1.29, this is %s: set sidecar.native=false" $version) -}}
{{- end -}}
name: batch-retry-proxy
{{ include "batch-retry-proxy._container" $chart }}
{{- if $sidecar.native }}
restartPolicy: Always
{{- end }}
args:
  - serve
  # Where the variables below lead.
  - --listen={{ include "batch-retry-proxy._listen" $chart }}
  - --admin-listen=0.0.0.0:9464
  - --publish=/var/run/batch-retry-proxy/trust
  - --set=ca.directory=/var/run/batch-retry-proxy/ca
  {{- if not $sidecar.native }}
  - --set=admin.allow_shutdown=true
  - --set=shutdown.delay=10s
  - --set=shutdown.grace=15s
  {{- end }}
  {{- range $sidecar.args }}
  - {{ . | quote }}
  {{- end }}
env:
  - name: BATCH_RETRY_PROXY_CONFIG
    value: /etc/batch-retry-proxy/batch-retry-proxy.toml
ports:
  - name: brp-metrics
    containerPort: 9464
{{ include "batch-retry-proxy._probes" $chart }}
{{- if not $sidecar.native }}
# Containers start one after the other: the next ones find the files that they trust the proxy by.
lifecycle:
  postStart:
    exec:
      command: [/batch-retry-proxy, wait, --timeout, 60s]
{{- end }}
resources:
  {{- toYaml $sidecar.resources | nindent 2 }}
volumeMounts:
  - name: batch-retry-proxy-ca
    mountPath: /var/run/batch-retry-proxy/ca
  - name: batch-retry-proxy-trust
    mountPath: /var/run/batch-retry-proxy/trust
  - name: batch-retry-proxy-config
    mountPath: /etc/batch-retry-proxy
    readOnly: true
  {{- with $sidecar.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Where the other containers find the proxy. */}}
{{- define "batch-retry-proxy._listen" -}}
{{- dig "listen" "address" "127.0.0.1:3128" .Values.settings -}}
{{- end -}}

{{/* The pod's volumes. */}}
{{- define "batch-retry-proxy.volumes" -}}
{{- $call := dict "in" . -}}{{- include "batch-retry-proxy._open" $call -}}
# In memory, seen by the proxy alone: a restarted container has the same authority as before.
- name: batch-retry-proxy-ca
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
- name: batch-retry-proxy-trust
  emptyDir:
    sizeLimit: 4Mi
- name: batch-retry-proxy-config
  configMap:
    name: {{ include "batch-retry-proxy._fullname" $call.context }}
{{- end -}}

{{/* The mounts of every other container. */}}
{{- define "batch-retry-proxy.volumeMounts" -}}
- name: batch-retry-proxy-trust
  mountPath: /var/run/batch-retry-proxy/trust
  readOnly: true
{{- end -}}

{{/* The variables of every other container. HTTP_PROXY stays unset: the metadata service refuses proxies. */}}
{{- define "batch-retry-proxy.env" -}}
{{- $call := dict "in" . -}}{{- include "batch-retry-proxy._open" $call -}}
{{- $chart := $call.context -}}
{{- $listen := include "batch-retry-proxy._listen" $chart -}}
{{- $trust := "/var/run/batch-retry-proxy/trust" -}}
{{- $direct := list "169.254.169.254" "168.63.129.16" "localhost" "127.0.0.1" ".svc" ".cluster.local" "$(KUBERNETES_SERVICE_HOST)" -}}
{{- $direct = concat $direct $chart.Values.sidecar.noProxy -}}
{{- $host := regexReplaceAll ":[0-9]+$" $listen "" | trimPrefix "[" | trimSuffix "]" -}}
{{- $port := regexFind "[0-9]+$" $listen -}}
{{- $java := list (printf "-Dhttps.proxyHost=%s" $host) (printf "-Dhttps.proxyPort=%s" $port)
  (printf "-Dhttp.nonProxyHosts=\"%s\"" (include "batch-retry-proxy._nonProxyHosts" $direct))
  (printf "-Djavax.net.ssl.trustStore=\"%s/truststore.p12\"" $trust)
  "-Djavax.net.ssl.trustStoreType=PKCS12" "-Djavax.net.ssl.trustStorePassword=changeit" -}}
{{- range list "HTTPS_PROXY" "https_proxy" }}
- name: {{ . }}
  value: http://{{ $listen }}
{{- end }}
{{- range list "NO_PROXY" "no_proxy" }}
- name: {{ . }}
  value: {{ join "," $direct | quote }}
{{- end }}
{{- range list "REQUESTS_CA_BUNDLE" "SSL_CERT_FILE" "CURL_CA_BUNDLE" }}
- name: {{ . }}
  value: {{ $trust }}/bundle.pem
{{- end }}
- name: NODE_EXTRA_CA_CERTS
  value: {{ $trust }}/ca.pem
- name: JAVA_TOOL_OPTIONS
  value: {{ join " " $java | squote }}
{{- end -}}

{{/* Java's form of NO_PROXY: separated by `|`, a domain's hosts only by `*.`, and a bare name is its domain as well. */}}
{{- define "batch-retry-proxy._nonProxyHosts" -}}
{{- $hosts := list -}}
{{- range . -}}
{{- if hasPrefix "." . -}}
{{- $hosts = append $hosts (printf "*%s" .) -}}
{{- else if or (contains "*" .) (hasPrefix "$(" .) (regexMatch "^[0-9.]+$|:" .) -}}
{{- $hosts = append $hosts . -}}
{{- else -}}
{{- $hosts = concat $hosts (list . (printf "*.%s" .)) -}}
{{- end -}}
{{- end -}}
{{- join "|" $hosts -}}
{{- end -}}

{{/* "spec", a pod spec as text or dict, with the proxy in it. */}}
{{- define "batch-retry-proxy.podSpec" -}}
{{- $call := dict "in" . -}}{{- include "batch-retry-proxy._open" $call -}}
{{- $chart := $call.context -}}
{{- $parsed := dict "what" "spec" "value" .spec -}}{{- include "batch-retry-proxy._parse" $parsed -}}
{{- $spec := $parsed.value -}}
{{- if $chart.Values.sidecar.enabled -}}
{{- if not $spec.containers -}}
{{- fail "batch-retry-proxy: the pod spec has no containers" -}}
{{- end -}}
{{- $native := $chart.Values.sidecar.native -}}
{{- $proxy := include "batch-retry-proxy.container" $chart | fromYaml -}}
{{- $env := include "batch-retry-proxy.env" $chart | fromYamlArray -}}
{{- $mounts := include "batch-retry-proxy.volumeMounts" $chart | fromYamlArray -}}
{{- range $kind := list "initContainers" "containers" -}}
{{- $others := list -}}
{{- range get $spec $kind | default list -}}
{{- if ne .name "batch-retry-proxy" -}}
{{- $others = append $others . -}}
{{- /* Before an ordinary sidecar's time there is no proxy to use. */ -}}
{{- if or $native (eq $kind "containers") -}}
{{- include "batch-retry-proxy._client" (dict "container" . "env" $env "mounts" $mounts) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $kind (ternary "initContainers" "containers" $native) -}}
{{- $others = prepend $others $proxy -}}
{{- end -}}
{{- if $others -}}
{{- $_ := set $spec $kind $others -}}
{{- else -}}
{{- $_ := unset $spec $kind -}}
{{- end -}}
{{- end -}}
{{- $volumes := include "batch-retry-proxy.volumes" $chart | fromYamlArray -}}
{{- $own := list -}}
{{- range $volumes -}}{{- $own = append $own .name -}}{{- end -}}
{{- $others := list -}}
{{- range $spec.volumes | default list -}}
{{- if not (has .name $own) -}}{{- $others = append $others . -}}{{- end -}}
{{- end -}}
{{- $_ := set $spec "volumes" (concat $others $volumes) -}}
{{- with include "batch-retry-proxy._pullSecrets" $chart | fromYamlArray -}}
{{- $_ := set $spec "imagePullSecrets" (concat ($spec.imagePullSecrets | default list) . | uniq) -}}
{{- end -}}
{{- end -}}
{{- toYaml $spec -}}
{{- end -}}

{{/* "template", a pod template as text or dict, with labels, annotations and the proxy. */}}
{{- define "batch-retry-proxy.podTemplate" -}}
{{- $call := dict "in" . -}}{{- include "batch-retry-proxy._open" $call -}}
{{- $chart := $call.context -}}
{{- $parsed := dict "what" "template" "value" .template -}}{{- include "batch-retry-proxy._parse" $parsed -}}
{{- $template := $parsed.value -}}
{{- if $chart.Values.sidecar.enabled -}}
{{- $metadata := $template.metadata | default dict -}}
{{- range $field := list "labels" "annotations" -}}
{{- $ours := include (printf "batch-retry-proxy.pod%s" (title $field)) $chart | fromYaml -}}
{{- $_ := set $metadata $field (merge $ours (get $metadata $field | default dict)) -}}
{{- end -}}
{{- $_ := set $template "metadata" $metadata -}}
{{- $_ := set $template "spec" (include "batch-retry-proxy.podSpec" (dict "root" $chart "spec" ($template.spec | default dict)) | fromYaml) -}}
{{- end -}}
{{- toYaml $template -}}
{{- end -}}

{{/* Puts a copy of "value", parsed where it is text, in its place. */}}
{{- define "batch-retry-proxy._parse" -}}
{{- $value := .value -}}
{{- if kindIs "string" $value -}}
{{- $value = fromYaml $value -}}
{{- if and (hasKey $value "Error") (kindIs "string" $value.Error) -}}
{{- fail (printf "batch-retry-proxy: %q is not YAML: %s" .what $value.Error) -}}
{{- end -}}
{{- else if not (kindIs "map" $value) -}}
{{- fail (printf "batch-retry-proxy: %q must be given, as text or as a dict" .what) -}}
{{- end -}}
{{- $_ := set . "value" (deepCopy $value) -}}
{{- end -}}

{{/* Changes "container" in place: its own values of the variables in "env" are replaced, but JAVA_TOOL_OPTIONS is added to. */}}
{{- define "batch-retry-proxy._client" -}}
{{- $ours := dict -}}
{{- range .env -}}{{- $_ := set $ours .name .value -}}{{- end -}}
{{- $env := list -}}
{{- $seen := list -}}
{{- $container := .container.name -}}
{{- range .container.env | default list -}}
{{- if hasKey $ours .name -}}
{{- $value := get $ours .name -}}
{{- $seen = append $seen .name -}}
{{- if eq .name "JAVA_TOOL_OPTIONS" -}}
{{- if .valueFrom -}}
{{- if dig "configMapKeyRef" "optional" (dig "secretKeyRef" "optional" false .valueFrom) .valueFrom -}}
{{- fail (printf "batch-retry-proxy: JAVA_TOOL_OPTIONS of container %s is optional and cannot be added to: give it a value" $container) -}}
{{- end -}}
{{- /* Kubernetes puts the value in when the container starts. */ -}}
{{- $env = append $env (set (omit . "name") "name" "OWN_JAVA_TOOL_OPTIONS") -}}
{{- $value = printf "$(OWN_JAVA_TOOL_OPTIONS) %s" $value -}}
{{- else if contains $value (.value | default "") -}}
{{- $value = .value -}}
{{- else -}}
{{- $value = trim (printf "%s %s" (.value | default "") $value) -}}
{{- end -}}
{{- end -}}
{{- $env = append $env (dict "name" .name "value" $value) -}}
{{- else -}}
{{- $env = append $env . -}}
{{- end -}}
{{- end -}}
{{- range .env -}}
{{- if not (has .name $seen) -}}{{- $env = append $env . -}}{{- end -}}
{{- end -}}
{{- $_ := set .container "env" $env -}}
{{- $own := list -}}
{{- range .mounts -}}{{- $own = append $own .name -}}{{- end -}}
{{- $mounts := list -}}
{{- range .container.volumeMounts | default list -}}
{{- if not (has .name $own) -}}{{- $mounts = append $mounts . -}}{{- end -}}
{{- end -}}
{{- $_ := set .container "volumeMounts" (concat $mounts .mounts) -}}
{{- end -}}
