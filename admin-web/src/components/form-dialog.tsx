/**
 * A form over the page. It stays, with what was typed, until the server has accepted it or the person cancels. What has been sent can't
 * be canceled: until its answer is there, the form stays too, or a revocation would look canceled, and a new secret would be seen by nobody.
 */

import { type FormEvent, type ReactNode } from "react";
import { Dialog, Heading, Modal, ModalOverlay } from "react-aria-components";

import { useTexts } from "../texts/language";
import { Problem } from "./states";

interface FormDialogProps {
  readonly title: string;
  readonly children: ReactNode;
  /** The word on the button: what it does. */
  readonly submitText: string;
  readonly busyText?: string;
  readonly isBusy: boolean;
  /** False as long as something that is needed has not been typed. */
  readonly isComplete?: boolean;
  readonly isDangerous?: boolean;
  readonly isWide?: boolean;
  /** Closing ends what is under way, such as an upload. */
  readonly isStoppable?: boolean;
  readonly error?: unknown;
  /** Shown in place of the error and the buttons, such as a [Conflict]. */
  readonly instead?: ReactNode;
  readonly submit: () => void;
  readonly close: () => void;
}

export function FormDialog(props: FormDialogProps) {
  const { title, children, submitText, busyText, isBusy, isComplete = true, isDangerous = false, isWide = false } = props;
  const { isStoppable = false, error, instead, submit, close } = props;
  const texts = useTexts().dialog;
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    if (!isBusy && isComplete && !instead) submit();
  };
  const mayClose = !isBusy || isStoppable;
  const leave = () => {
    if (mayClose) close();
  };
  return (
    <ModalOverlay className="overlay" isOpen onOpenChange={(isOpen) => !isOpen && leave()}>
      <Modal>
        <Dialog className={isWide ? "dialog wide" : "dialog"} role={isDangerous ? "alertdialog" : "dialog"}>
          <form className="form" onSubmit={onSubmit}>
            <Heading slot="title" level={2}>
              {title}
            </Heading>
            {children}
            <div role="alert" className="quiet">
              {error && !instead ? <Problem error={error} /> : null}
            </div>
            {instead ?? (
              <div className="row">
                <button
                  type="submit"
                  className={isDangerous ? "danger" : "primary"}
                  aria-disabled={isBusy || !isComplete}
                >
                  {isBusy ? (busyText ?? texts.working) : submitText}
                </button>
                <button type="button" aria-disabled={!mayClose} onClick={leave}>
                  {texts.cancel}
                </button>
              </div>
            )}
          </form>
        </Dialog>
      </Modal>
    </ModalOverlay>
  );
}
