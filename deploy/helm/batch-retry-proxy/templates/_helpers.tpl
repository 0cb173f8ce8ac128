{{/*
Names, labels, image and settings. Names with an underscore after the dot are the chart's own; the others are for users' charts.
*/}}

{{/*
Finds this chart's own context. Takes a dict whose "in" is what a caller handed over: its root context `$`, or a dict with "root" and, where
the parent has this chart twice, "alias". Puts the context under "context", because a named template can only give back text.
*/}}
{{- define "batch-retry-proxy._open" -}}
{{- $in := .in -}}
{{- $root := $in -}}
{{- $alias := "" -}}
{{- if hasKey $in "root" -}}
{{- $root = $in.root -}}
{{- $alias = $in.alias | default "" -}}
{{- end -}}
{{- if not (hasKey $root "Chart") -}}
{{- fail "batch-retry-proxy: pass the root context: include \"batch-retry-proxy.podSpec\" (dict \"root\" $ \"spec\" ...)" -}}
{{- end -}}
{{- if eq (index $root.Chart.Annotations "batch-retry-proxy") "chart" -}}
{{- $_ := set . "context" $root -}}
{{- else -}}
{{- $found := list -}}
{{- range $name, $context := $root.Subcharts -}}
{{- if and (eq (index $context.Chart.Annotations "batch-retry-proxy") "chart") (or (not $alias) (eq $alias $name)) -}}
{{- $found = append $found $name -}}
{{- end -}}
{{- end -}}
{{- if ne (len $found) 1 -}}
{{- $what := printf "%d subcharts of %s are batch-retry-proxy (%s)" (len $found) $root.Chart.Name (join ", " $found) -}}
{{- $asked := ternary (printf " with the alias %q" $alias) "" (ne $alias "") -}}
{{- fail (printf "%s%s; it must be one: add the dependency, or choose by (dict \"root\" $ \"alias\" ...)" $what $asked) -}}
{{- end -}}
{{- $_ := set . "context" (get $root.Subcharts (first $found)) -}}
{{- end -}}
{{- end -}}

{{- define "batch-retry-proxy._name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of every object. The longest suffix is 10 characters. */}}
{{- define "batch-retry-proxy._fullname" -}}
{{- $name := include "batch-retry-proxy._name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "batch-retry-proxy._selector" -}}
app.kubernetes.io/name: {{ include "batch-retry-proxy._name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "batch-retry-proxy._labels" -}}
{{ include "batch-retry-proxy._selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "batch-retry-proxy._image" -}}
{{- $registry := dig "imageRegistry" "" (.Values.global | default dict) -}}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* A list, with those of `global`, whose entries many charts write as names alone. */}}
{{- define "batch-retry-proxy._pullSecrets" -}}
{{- $secrets := list -}}
{{- range concat .Values.imagePullSecrets (dig "imagePullSecrets" list (.Values.global | default dict) | default list) -}}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- uniq $secrets | toYaml -}}
{{- end -}}

{{/*
The settings as TOML, one key a line, written as `--set` takes them. Not toToml: Helm's numbers are floats, and it writes 20 as 20.0.
*/}}
{{- define "batch-retry-proxy._settings" -}}
{{- $settings := .Values.settings -}}
{{- range $key := list "ca.directory" "ca.publish" "admin.address" -}}
{{- $path := splitList "." $key -}}
{{- if hasKey (get $settings (first $path) | default dict) (last $path) -}}
{{- fail (printf "settings.%s is the chart's own and cannot be set" $key) -}}
{{- end -}}
{{- end -}}
{{- include "batch-retry-proxy._toml.lines" (dict "prefix" "" "map" $settings) -}}
{{- end -}}

{{- define "batch-retry-proxy._toml.lines" -}}
{{- $prefix := .prefix -}}
{{- range $key, $value := .map -}}
{{- $name := printf "%s%s" $prefix (include "batch-retry-proxy._toml.key" $key) -}}
{{- if kindIs "map" $value -}}
{{- include "batch-retry-proxy._toml.lines" (dict "prefix" (printf "%s." $name) "map" $value) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- printf "%s = %s\n" $name (include "batch-retry-proxy._toml.value" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "batch-retry-proxy._toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ . | toJson }}{{ end -}}
{{- end -}}

{{/* JSON but for tables. */}}
{{- define "batch-retry-proxy._toml.value" -}}
{{- if kindIs "map" . -}}
{{- $fields := list -}}
{{- range $key, $value := . -}}
{{- $fields = append $fields (printf "%s = %s" (include "batch-retry-proxy._toml.key" $key) (include "batch-retry-proxy._toml.value" $value)) -}}
{{- end -}}
{{- printf "{ %s }" (join ", " $fields) -}}
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . -}}
{{- $items = append $items (include "batch-retry-proxy._toml.value" .) -}}
{{- end -}}
{{- printf "[%s]" (join ", " $items) -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{/* What both modes' containers have alike. */}}
{{- define "batch-retry-proxy._container" -}}
image: {{ include "batch-retry-proxy._image" . }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
terminationMessagePolicy: FallbackToLogsOnError
{{ include "batch-retry-proxy._restricted" . }}
{{- end -}}

{{/* PodSecurity `restricted`, and a root that cannot be written. */}}
{{- define "batch-retry-proxy._restricted" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "batch-retry-proxy._probes" -}}
startupProbe:
  httpGet:
    path: /readyz
    port: 9464
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /livez
    port: 9464
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{- define "batch-retry-proxy._scrape" -}}
prometheus.io/scrape: "true"
prometheus.io/port: "9464"
prometheus.io/path: /metrics
{{- end -}}
