{{- define "parent.podTemplate" -}}
metadata:
  labels:
    app: parent
  annotations:
    own: kept
spec:
  initContainers:
    - name: prepare
      image: busybox:1
      command: ["true"]
  containers:
    - name: program
      image: python:3
      env:
        - name: APP
          value: {{ .Release.Name }}
        - name: https_proxy
          value: http://another:1
        - name: JAVA_TOOL_OPTIONS
          value: -Xmx1g
        - name: LATE
          value: $(https_proxy)
      ports:
        - containerPort: 8080
      securityContext:
        runAsUser: 1000660000
      volumeMounts:
        - name: data
          mountPath: /data
    - name: helper
      image: busybox:1
      env:
        - name: JAVA_TOOL_OPTIONS
          valueFrom:
            configMapKeyRef:
              name: java
              key: options
  volumes:
    - name: data
      emptyDir: {}
{{- end -}}

{{- define "parent.podSpec" -}}
restartPolicy: Never
containers:
  - name: program
    image: python:3
{{- end -}}
