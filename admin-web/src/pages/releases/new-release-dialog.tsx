/** A new release: an image, and a manifest that was signed offline or that the server will sign. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";

import { answer, api } from "../../api/client";
import { ApiProblem } from "../../api/problem";
import { presenceQuery } from "../../api/queries";
import type { Release } from "../../api/types";
import { uploadArtifact } from "../../api/upload";
import { AreaField, ChoiceField, FileField, TextField } from "../../components/fields";
import { FormDialog } from "../../components/form-dialog";
import { share } from "../../format/number";
import { isSigned, readManifest } from "../../signed/manifest";
import { useLanguage } from "../../texts/language";
import { newestCounter, releaseFields, type Typed } from "./release-fields";

interface NewReleaseDialogProps {
  readonly releases: readonly Release[];
  readonly close: () => void;
}

export function NewReleaseDialog({ releases, close }: NewReleaseDialogProps) {
  const { texts, locale } = useLanguage();
  const words = texts.releases;
  const navigate = useNavigate();
  const queryClient = useQueryClient();
  const fleet = useQuery({ ...presenceQuery, refetchInterval: false });
  const [how, setHow] = useState<"offline" | "online">("offline");
  const [manifest, setManifest] = useState("");
  const [image, setImage] = useState<File>();
  const [sent, setSent] = useState<number>();
  const newest = newestCounter(releases);
  const [typed, setTyped] = useState<Typed>({
    release_id: "",
    version: "",
    counter: String(newest + 1),
    models: "",
    product: "ks-terminal",
    min_counter: "",
    valid_days: "365",
  });
  const type = (field: keyof Typed) => (value: string) => setTyped({ ...typed, [field]: value });

  // Leaving the dialog ends its upload.
  const ending = useRef(new AbortController());
  useEffect(() => {
    ending.current = new AbortController();
    return () => ending.current.abort();
  }, []);

  const upload = async (expected?: string): Promise<string> => {
    if (!image) return "";
    setSent(0);
    const { sha256 } = await uploadArtifact(image, setSent, ending.current.signal);
    if (expected !== undefined && sha256 !== expected) throw new ApiProblem(400, words.otherImage(sha256));
    return sha256;
  };
  const text = manifest.trimEnd();
  const said = isSigned(text) ? readManifest(text) : undefined;
  const create = useMutation({
    mutationFn: async (): Promise<Release> => {
      if (how === "offline") {
        await upload(said?.sha256);
        return answer(api.POST("/api/releases/signed", { body: { manifest: text } }));
      }
      const sha256 = await upload();
      return answer(api.POST("/api/releases", { body: releaseFields(typed, sha256) }));
    },
    onSuccess: async (release) => {
      await queryClient.invalidateQueries({ queryKey: ["releases"] });
      void navigate({ to: "/releases/$releaseId", params: { releaseId: release.release_id } });
    },
  });
  const isComplete =
    how === "offline" ? said !== undefined : image !== undefined && typed.release_id !== "" && typed.version !== "" && typed.models.trim() !== "";

  return (
    <FormDialog
      title={words.addTitle}
      submitText={words.create}
      busyText={words.creating}
      isBusy={create.isPending}
      isComplete={isComplete}
      isWide
      isStoppable
      error={create.error}
      submit={() => create.mutate()}
      close={close}
    >
      <ChoiceField
        name={words.how}
        value={how}
        hint={how === "online" ? words.onlineHelp : undefined}
        options={[
          ["offline", words.offline],
          ["online", words.online],
        ]}
        onChoose={setHow}
      />
      {how === "offline" ? (
        <>
          <FileField
            name={words.manifestFile}
            hint={words.manifestFileHint}
            accept=".toon,text/plain"
            onFile={(file) => void file?.text().then(setManifest)}
          />
          <AreaField
            name={words.manifest}
            value={manifest}
            onType={setManifest}
            rows={8}
            className="mono"
            spellCheck={false}
            maxLength={4_096}
          />
          <div role="status" className="quiet">
            {manifest !== "" && !said && <p className="notice warn">{words.manifestWrong}</p>}
            {said && (
              <p className="notice">
                {words.manifestSays(said.release_id, said.version, String(said.release_counter), said.key_id)}
              </p>
            )}
          </div>
        </>
      ) : (
        <div className="columns">
          <TextField name={words.name} hint={words.nameHint} required value={typed.release_id} onType={type("release_id")} />
          <TextField name={words.version} required maxLength={64} value={typed.version} onType={type("version")} />
          <TextField
            name={words.counter}
            hint={words.counterHint(String(newest))}
            type="number"
            min={1}
            required
            value={typed.counter}
            onType={type("counter")}
          />
          <AreaField
            name={words.models}
            hint={`${words.modelsHint}${fleet.data ? ` (${Object.keys(fleet.data.models).join(", ")})` : ""}`}
            rows={3}
            required
            value={typed.models}
            onType={type("models")}
          />
          <TextField name={words.product} required value={typed.product} onType={type("product")} />
          <TextField
            name={words.minCounter}
            hint={words.minCounterHint}
            type="number"
            min={1}
            value={typed.min_counter}
            onType={type("min_counter")}
          />
          <TextField
            name={words.validDays}
            type="number"
            min={1}
            max={3_650}
            required
            value={typed.valid_days}
            onType={type("valid_days")}
          />
        </div>
      )}
      <FileField name={words.image} hint={how === "offline" ? words.imageHint : words.imageNeeded} onFile={setImage} />
      {image && sent !== undefined && create.isPending && (
        <div className="row">
          <progress max={image.size} value={sent} aria-label={words.image} />
          <span role="status">{words.uploading(share(sent, image.size, locale))}</span>
        </div>
      )}
    </FormDialog>
  );
}
