;;; mailsync-doctor.el --- Find out what is wrong, and what to do  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The command `mailsync-doctor': it looks at everything that mailsync needs,
;; changes nothing, and shows what it finds as it comes, problems first, each
;; with the one thing to do.
;;
;; What Lisp can tell is in mailsync-doctor-checks.el; disks, the kernel and the
;; network are asked by the module in the background (src/errand/examine/), and
;; so it works while mailsync is off, and, as far as it goes, without a module.
;; Programs are asked for their versions by processes of their own.  Passwords
;; and servers are tried only when the user asks for that, and has said yes to
;; each.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)
(require 'mailsync-discover)
(require 'mailsync-doctor-checks)
(require 'mailsync-life)
(require 'mailsync-options)

;;;; Internal variables

(defconst mailsync-doctor--buffer "*mailsync-doctor*"
  "Name of the buffer that `mailsync-doctor' shows.")

(defconst mailsync-doctor--patience 20
  "How long an answer is waited for, in seconds.
The module itself gives up on disks much earlier.")

(defconst mailsync-doctor--process-patience 10
  "How long a program that is tried may take, in seconds.")

(defvar mailsync-doctor-proposal-function #'mailsync-doctor-propose
  "Function that finds out which accounts the user could have, or nil.
It is called with a function, which it calls later with a list as
`mailsync-accounts' is and, if it likes, a list of findings; it must return at
once.  The symbol `unknown' for the former: nobody could look.")

(defvar mailsync-doctor--run nil
  "A fresh cons for each run; what belongs to an earlier one is dropped.")

(defvar mailsync-doctor--findings nil
  "What was found, in the order in which it came.")

(defvar mailsync-doctor--waiting nil
  "What is waited for: alist from descriptions, strings, to timers.")

(defvar mailsync-doctor--accounts nil
  "The accounts that are examined.")

(defvar mailsync-doctor--vector nil
  "Those in the form that the module wants.")

(defvar mailsync-doctor--facts nil
  "What the module told Lisp to judge: lists (ACCOUNT WHAT ONE TWO THREE).")

(defvar mailsync-doctor--tries 0
  "How many servers were tried.")

(defvar mailsync-doctor--index-ours nil
  "Non-nil if what is known of Gnus's groups was found out for the doctor.")

;;;; Declarations

(defvar mailsync--running)
(defvar mailsync-gnus--index)
(defvar mailsync-sync--alone)
(declare-function gnus-alive-p "gnus-util")
(declare-function mailsync-gnus--forget-index "mailsync-gnus-folders")
(declare-function mailsync-gnus--index-current-p "mailsync-gnus-folders")
(declare-function mailsync-gnus--refresh-index "mailsync-gnus-folders" (callback))
(declare-function mailsync-module--examine "ext:mailsync-engine")
(declare-function mailsync-module--examine-machine "ext:mailsync-engine")
(declare-function mailsync-module--reach "ext:mailsync-engine")

;;;; The buffer

(defvar mailsync-doctor-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "RET") #'mailsync-doctor-mend)
    (define-key map "e" #'mailsync-doctor-mend)
    (define-key map "n" #'mailsync-doctor-next)
    (define-key map "p" #'mailsync-doctor-previous)
    (define-key map "t" #'mailsync-doctor-try)
    (define-key map "w" #'mailsync-doctor-copy)
    map)
  "Keymap of the buffer that `mailsync-doctor' shows.")

(define-derived-mode mailsync-doctor-mode special-mode "Mailsync-Doctor"
  "Major mode of the buffer with what `mailsync-doctor' found.

\\{mailsync-doctor-mode-map}"
  (buffer-disable-undo)
  (visual-line-mode)
  (setq bidi-paragraph-direction 'left-to-right)
  (add-hook 'kill-buffer-hook #'mailsync-doctor--end nil t)
  (setq-local revert-buffer-function (lambda (&rest _) (mailsync-doctor--begin))))

;;;###autoload
(defun mailsync-doctor ()
  "Find out what is wrong with mailsync here, and what to do about it.
Nothing is changed, and no server is asked.  What is found is shown as it
comes, problems first."
  (interactive)
  (pop-to-buffer (get-buffer-create mailsync-doctor--buffer))
  (unless (derived-mode-p 'mailsync-doctor-mode)
    (mailsync-doctor-mode))
  (mailsync-doctor--begin))

(defconst mailsync-doctor--levels
  '((problem . error) (warning . warning) (note . mailsync-doctor-note)
    (ok . success))
  "Levels of findings, the worst first, and their faces.")

(defun mailsync-doctor--sorted ()
  "The findings, the worst first."
  (mapcan (lambda (level)
            (seq-filter (lambda (finding) (eq (nth 2 finding) (car level)))
                        mailsync-doctor--findings))
          (copy-sequence mailsync-doctor--levels)))

(defun mailsync-doctor--summary ()
  "How many findings of each level there are, and what is waited for."
  (concat
   (mapconcat (lambda (level)
                (let ((number (seq-count (lambda (finding)
                                           (eq (nth 2 finding) (car level)))
                                         mailsync-doctor--findings)))
                  (format "%d %s%s" number (car level)
                          (if (or (= number 1) (eq (car level) 'ok)) "" "s"))))
              mailsync-doctor--levels ", ")
   (if mailsync-doctor--waiting
       (format "; waiting for %s"
               (mailsync-doctor--some (mapcar #'car mailsync-doctor--waiting)))
     ".  That is all.")))

(defun mailsync-doctor--show ()
  "Write the findings into the buffer, and leave point where it was."
  (when-let ((buffer (get-buffer mailsync-doctor--buffer)))
    (with-current-buffer buffer
      (let* ((inhibit-read-only t)
             (window (get-buffer-window buffer t))
             (point (if window (window-point window) (point)))
             (here (get-text-property point 'mailsync-finding))
             (line (line-number-at-pos point)))
        (erase-buffer)
        (insert (propertize (mailsync-doctor--summary) 'face 'bold) "\n"
                (substitute-command-keys
                 "\\<mailsync-doctor-mode-map>RET goes where it is mended, \
\\[revert-buffer] examines again, \\[mailsync-doctor-try] tries servers and \
passwords, \\[mailsync-doctor-copy] copies.")
                "\n\n")
        (mapc #'mailsync-doctor--insert (mailsync-doctor--sorted))
        (set-buffer-modified-p nil)
        (goto-char (or (and here (mailsync-doctor--position here))
                       (progn (goto-char (point-min))
                              (forward-line (1- line))
                              (point))))
        (when window
          (set-window-point window (point)))))))

(defun mailsync-doctor--position (finding)
  "Where FINDING is in the buffer, or nil."
  (let ((position (point-min)))
    (while (and position
                (not (equal (get-text-property position 'mailsync-finding)
                            finding)))
      (setq position (next-single-property-change position 'mailsync-finding)))
    position))

(defun mailsync-doctor--insert (finding)
  "Write FINDING."
  (pcase-let ((`(,subject ,check ,level ,text ,remedy ,_) finding)
              (start (point)))
    (insert (propertize (format "%-8s" level)
                        'face (alist-get level mailsync-doctor--levels))
            " " (mailsync-log-clean subject)
            (if (equal subject check) "" (concat ", " (mailsync-log-clean check)))
            ": " (mailsync-log-clean (mailsync-doctor--short text)) "\n")
    (unless (equal remedy "")
      (insert (make-string 9 ?\s) "Do: "
              (mailsync-log-clean (mailsync-doctor--short remedy)) "\n"))
    (add-text-properties start (point)
                         (list 'mailsync-finding finding
                               'wrap-prefix (make-string 9 ?\s)))))

(defun mailsync-doctor--short (text)
  "TEXT with the home directory, wherever it stands, as `~'."
  (let ((home (directory-file-name (expand-file-name "~"))))
    (if (equal home "/")
        text
      (replace-regexp-in-string
       (concat (regexp-quote home) "\\([^[:alnum:]_.-]\\|\\'\\)")
       "~\\1" text))))

(defun mailsync-doctor-next (&optional count)
  "Go to the next finding, COUNT times."
  (interactive "p")
  (dotimes (_ (abs (or count 1)))
    (let ((move (if (< (or count 1) 0)
                    #'previous-single-property-change
                  #'next-single-property-change)))
      (when-let ((position (funcall move (point) 'mailsync-finding)))
        (goto-char position)
        ;; Backwards, the beginning of this one came first.
        (unless (get-text-property (point) 'mailsync-finding)
          (when-let ((position (funcall move (point) 'mailsync-finding)))
            (goto-char position)))))))

(defun mailsync-doctor-previous (&optional count)
  "Go to the previous finding, COUNT times."
  (interactive "p")
  (mailsync-doctor-next (- (or count 1))))

(defun mailsync-doctor-mend ()
  "Go to where the finding at point is mended."
  (interactive)
  (let* ((finding (or (get-text-property (point) 'mailsync-finding)
                      (user-error "There is no finding here")))
         (remedy (nth 4 finding)))
    (pcase (and (string-match "\\`\\([a-z]+\\) \\(.+\\)\\'" (nth 5 finding))
                (cons (match-string 1 (nth 5 finding))
                      (match-string 2 (nth 5 finding))))
      (`("option" . "mailsync-accounts")
       (mailsync-status-option-of
        (and (string-match "\\`account \"\\(.+\\)\"\\'" (car finding))
             (match-string 1 (car finding)))))
      (`("option" . ,(app intern-soft (and option (pred custom-variable-p))))
       (customize-variable option))
      (`("option" . ,(app intern-soft (and variable (pred boundp))))
       (describe-variable variable))
      (`("group" . ,name) (customize-group (intern name)))
      (`("command" . ,(app intern-soft (and command (pred commandp))))
       (call-interactively command))
      (`("file" . ,file) (find-file-other-window file))
      (_ (message "%s" (if (equal remedy "") "Nothing is to be done" remedy))))))

(defun mailsync-doctor-copy ()
  "Copy the findings, for a bug report.
There is no password in them; names of folders and servers are."
  (interactive)
  (kill-new (mailsync-doctor--report))
  (message "Copied; names of folders and servers are in it, no password is"))

(defun mailsync-doctor--report ()
  "The findings as plain text."
  (concat
   (format "mailsync-doctor, %s, %s\n%s\n" (mailsync-version) system-configuration
           (mailsync-doctor--summary))
   (with-temp-buffer
     (mapc #'mailsync-doctor--insert (mailsync-doctor--sorted))
     (buffer-substring-no-properties (point-min) (point-max)))))

;;;; A run

(defun mailsync-doctor--begin ()
  "Examine everything, anew."
  (mailsync-doctor--end)
  (setq mailsync-doctor--run (list t)
        mailsync-doctor--findings nil
        mailsync-doctor--facts nil
        mailsync-doctor--accounts nil
        mailsync-doctor--vector nil)
  (mailsync-doctor--check #'mailsync-doctor-check-module)
  (mailsync-doctor--check #'mailsync-doctor-check-state)
  (let ((engine (mailsync-doctor--engine)))
    (if (and engine mailsync-doctor-proposal-function (null mailsync-accounts))
        ;; Then the accounts are what is discovered.
        (mailsync-doctor--check #'mailsync-doctor--discover-first)
      (mailsync-doctor--check #'mailsync-doctor--read)
      (mailsync-doctor--check #'mailsync-doctor--untried)
      (when engine
        (mailsync-doctor--examine)
        (unless (or (null mailsync-doctor-proposal-function)
                    (eq mailsync-accounts 'none))
          (mailsync-doctor--check #'mailsync-doctor--discover)))))
  (mailsync-doctor--check #'mailsync-doctor-check-options)
  (mailsync-doctor--check #'mailsync-doctor-check-hooks)
  (mailsync-doctor--check #'mailsync-doctor-check-demon)
  (mailsync-doctor--show))

(defun mailsync-doctor--read ()
  "Read the configuration, for what follows; return findings about it."
  (pcase-let ((`(,accounts ,vector ,faults) (mailsync-doctor-read)))
    (setq mailsync-doctor--accounts accounts
          mailsync-doctor--vector vector)
    (mailsync-doctor-check-accounts accounts faults)))

(defun mailsync-doctor--discover-first ()
  "Find out which accounts there are, nobody having said so; examine those."
  (mailsync-doctor--proposed
   (lambda (proposed findings end)
     (let ((mailsync-accounts--discovered
            (if (eq proposed 'unknown) mailsync-accounts--discovered
              (or proposed 'default))))
       (mailsync-doctor--check #'mailsync-doctor--read)
       (mailsync-doctor--check #'mailsync-doctor--untried)
       (mailsync-doctor--examine)
       (funcall end findings)))))

(defun mailsync-doctor--discover ()
  "Compare the accounts with those that the user could have."
  (let ((accounts mailsync-doctor--accounts))
    (mailsync-doctor--proposed
     (lambda (proposed findings end)
       (if (memq proposed '(nil unknown))
           (funcall end findings)
         (mailsync--resolve
          "doctor names" (mailsync-doctor-directories (append accounts proposed))
          (lambda (truenames)
            (funcall end (append (mailsync-doctor-against-discovery
                                  accounts proposed truenames)
                                 findings)))))))))

(defun mailsync-doctor--proposed (then)
  "Find out which accounts the user could have; call THEN with that, later.
It gets what `mailsync-doctor-proposal-function' gives, and a function to call
in the end, with findings.  Return nil."
  (let ((run mailsync-doctor--run)
        (end (mailsync-doctor--wait "discovery" mailsync-doctor--patience)))
    (funcall mailsync-doctor-proposal-function
             (lambda (proposed &optional findings)
               ;; Not if it is too late, which has been said then.
               (when (and (eq run mailsync-doctor--run)
                          (assoc "discovery" mailsync-doctor--waiting))
                 (funcall then proposed findings end)))))
  nil)

(defun mailsync-doctor-propose (then)
  "Have discovery find out which accounts the user could have.
Call THEN later, as `mailsync-doctor-proposal-function' says."
  ;; What Gnus shows is asked about anew when it starts, whoever asks now.
  (let ((mailsync-discover--asked nil))
    (mailsync-discover
     "doctor discovery"
     (lambda (found)
       (if (null found)
           (funcall then 'unknown
                    (list (mailsync-doctor--finding
                           "accounts" "discovery" 'warning
                           "nobody could look which accounts there could be"
                           "M-x mailsync-log says why" "command mailsync-log")))
         (let ((usable (lambda (proposal) (plist-get proposal :usable))))
           (funcall then
                    (mapcar #'mailsync-discover-account (seq-filter usable (car found)))
                    ;; Who has written accounts of his own has others in mind.
                    (unless mailsync-accounts
                      (mapcar #'mailsync-doctor-unusable
                              (seq-remove usable (car found)))))))))))

(defun mailsync-doctor--check (function &rest args)
  "Add the findings that FUNCTION returns, called with ARGS.
One that signals stops no other."
  (mailsync-doctor--add
   (condition-case err
       (let ((mailsync--quiet t))
         (apply function args))
     (error
      (list (mailsync-doctor--finding
             "mailsync-doctor" "doctor" 'problem
             (format "a check failed: %s" (error-message-string err))
             "report this"))))))

(defun mailsync-doctor--add (findings)
  "Add FINDINGS to what was found."
  (setq mailsync-doctor--findings
        (append mailsync-doctor--findings findings)))

(defun mailsync-doctor--engine ()
  "Have an engine that can be asked; return nil where there can be none.
Where mailsync is off, one that watches nothing will do."
  (condition-case err
      (let ((alone (not mailsync--running)))
        (when alone
          (mailsync--start-alone))
        ;; Whoever else needs it meanwhile does not end it under us, nor we it.
        (when (or alone mailsync-sync--alone)
          (cl-pushnew 'doctor mailsync-sync--alone))
        t)
    (error
     ;; What is wrong with the module itself was found already.
     (unless (seq-some (lambda (finding) (equal (nth 1 finding) "module"))
                       (seq-remove (lambda (finding) (eq (nth 2 finding) 'ok))
                                   mailsync-doctor--findings))
       (mailsync-doctor--add
        (list (mailsync-doctor--finding
               "mailsync" "module" 'problem (error-message-string err)
               "M-x mailsync-module-compile" "command mailsync-module-compile"))))
     nil)))

(defun mailsync-doctor--end ()
  "End what is going on."
  (setq mailsync-doctor--run nil)
  (pcase-dolist (`(,_ . ,timer) mailsync-doctor--waiting)
    (cancel-timer timer))
  (setq mailsync-doctor--waiting nil)
  (mailsync-doctor--done))

(defun mailsync-doctor--done ()
  "Nothing is waited for any more: what was started for that ends."
  (when (and mailsync-doctor--index-ours (not mailsync-mode))
    (mailsync-gnus--forget-index))
  (setq mailsync-doctor--index-ours nil)
  (mailsync-sync--alone-done 'doctor))

(defun mailsync-doctor--wait (what seconds)
  "Wait for WHAT, a string, for SECONDS; return a function to call in the end.
It takes a list of findings, and does nothing if it is too late."
  (let* ((run mailsync-doctor--run)
         (cell (list what))
         (end (lambda (findings)
                (when (and (eq run mailsync-doctor--run)
                           (memq cell mailsync-doctor--waiting))
                  (cancel-timer (cdr cell))
                  (setq mailsync-doctor--waiting
                        (delq cell mailsync-doctor--waiting))
                  (mailsync-doctor--add findings)
                  (unless mailsync-doctor--waiting
                    (mailsync-doctor--done))
                  (mailsync-doctor--show)))))
    (setcdr cell (run-at-time
                  seconds nil
                  (lambda ()
                    (funcall end
                             (list (mailsync-doctor--finding
                                    what "doctor" 'problem
                                    (format "no answer within %d seconds" seconds)
                                    "press g to examine again"))))))
    (push cell mailsync-doctor--waiting)
    end))

(defun mailsync-doctor--ask (what slot function then &rest args)
  "Have the module's FUNCTION, called with ARGS, examine WHAT in the background.
SLOT is as for `mailsync--errand'.  THEN is called with what remains of the
answer, a list of fields of unibyte strings, and returns further findings."
  (let ((end (mailsync-doctor--wait what mailsync-doctor--patience)))
    (condition-case err
        (apply #'mailsync--errand slot
               (lambda (&rest args)
                 ;; A mistake in what we ask is no end of the engine.
                 (condition-case err
                     (apply function args)
                   (void-function
                    (funcall end (list (mailsync-doctor--old-module))))
                   (error
                    (funcall end (list (mailsync-doctor--finding
                                        what "doctor" 'problem
                                        (error-message-string err)
                                        "report this"))))))
               (lambda (fields)
                 (funcall end (funcall then fields)))
               args)
      (error
       (funcall end (list (mailsync-doctor--finding
                           what "doctor" 'problem (error-message-string err)
                           "report this")))))))

(defun mailsync-doctor--old-module ()
  "A finding that the module cannot be asked, whatever version it says it is."
  (mailsync-doctor--finding
   "mailsync" "module" 'problem "the module that runs is older than the Lisp files"
   "M-x mailsync-module-compile, then restart Emacs"
   "command mailsync-module-compile"))

(defun mailsync-doctor--take (fields)
  "The findings in FIELDS, an answer of the module's; keep the facts."
  (let (findings)
    (while fields
      (pcase-let ((`(,subject ,check ,level ,text ,remedy ,place)
                   (seq-take fields 6)))
        (if (equal level "fact")
            (push (list (mailsync-pipe-decode-text subject) check text remedy place)
                  mailsync-doctor--facts)
          (push (cons (mailsync-pipe-decode-text subject)
                      (list check (intern level)
                            (mailsync-pipe-decode-text text)
                            (mailsync-pipe-decode-text remedy)
                            (mailsync-pipe-decode place)))
                findings)))
      (setq fields (nthcdr 6 fields)))
    (nreverse findings)))

(defun mailsync-doctor--examine ()
  "Have the accounts examined, and then what depends on what they have."
  (mailsync-doctor--ask
   "disks" "doctor accounts" #'mailsync-module--examine
   (lambda (fields)
     (prog1 (mailsync-doctor--take fields)
       (mailsync-doctor--examine-machine)
       (mailsync-doctor--ask-versions)
       (mailsync-doctor--examine-groups)))
   ;; If even the configuration cannot be read.
   (or mailsync-doctor--vector []) (mailsync--runtime-directory)))

(defun mailsync-doctor--examine-machine ()
  "Have the machine examined."
  (let ((watches 0) (watchers 0))
    (pcase-dolist (`(,_ ,what ,one ,two ,_) mailsync-doctor--facts)
      (when (equal what "watches")
        (setq watches (+ watches (string-to-number one))
              watchers (+ watchers (string-to-number two)))))
    (mailsync-doctor--ask
     "this machine" "doctor machine" #'mailsync-module--examine-machine
     #'mailsync-doctor--take
     watches watchers
     (let ((place (mailsync--listen-place)))
       (and (not (eq place 'wrong)) place))
     (mailsync--runtime-directory))))

;;;; Groups

(defun mailsync-doctor--examine-groups ()
  "Find out which groups of Gnus show the folders of the accounts."
  (when (and (featurep 'gnus) (gnus-alive-p))
    (require 'mailsync-gnus-folders)
    (let* ((end (mailsync-doctor--wait "groups" mailsync-doctor--patience))
           (look (lambda ()
                   (let ((mailsync-accounts--valid mailsync-doctor--accounts))
                     (funcall end (mapcan #'mailsync-doctor--groups
                                          (mapcar #'car mailsync-doctor--accounts)))))))
      (cond
       ((mailsync-gnus--index-current-p)
        (run-at-time 0 nil look))
       ;; The index is mailsync's business then; what it has will do.
       (mailsync-mode
        (run-at-time 1 nil look))
       (t
        (setq mailsync-doctor--index-ours t)
        (mailsync-gnus--refresh-index look))))))

(defun mailsync-doctor--groups (account)
  "Findings about the groups of ACCOUNT."
  (condition-case err
      (let ((mailsync--quiet t))
        (mailsync-doctor-check-groups account
                                      (mailsync-doctor--changes account)))
    (error
     (list (mailsync-doctor--finding
            (mailsync-doctor--account account) "groups" 'problem
            (format "a check failed: %s" (error-message-string err))
            "report this")))))

(defun mailsync-doctor--changes (account)
  "The folders of ACCOUNT as the module found them, as changes."
  (let (changes)
    (pcase-dolist (`(,of ,what ,name ,directory ,truename) mailsync-doctor--facts)
      (when (and (equal what "folder") (equal of account))
        (push (list :account account
                    :folder (mailsync-pipe-decode-text name)
                    :directory (mailsync-pipe-decode directory)
                    :truename (mailsync-pipe-decode truename))
              changes)))
    changes))

;;;; Programs

(defun mailsync-doctor--ask-versions ()
  "Ask the syncers that we know for their versions, each program once."
  (pcase-dolist (`(,kind ,file)
                 (seq-uniq
                  (cl-loop for (_ what kind file) in mailsync-doctor--facts
                           when (and (equal what "program")
                                     (member kind '("mbsync" "offlineimap")))
                           collect (list kind (mailsync-pipe-decode file)))))
    (mailsync-doctor--process
     (format "the version of %s" kind) (list file "--version")
     (lambda (output how)
       (list (mailsync-doctor--version kind file output how))))))

(defconst mailsync-doctor--oldest
  '(("mbsync" "1.4" "isync 1.4.4") ("offlineimap" "8.0" "OfflineIMAP 8.0.0"))
  "Syncers, the oldest version that is known to do, and that of our tests.")

(defun mailsync-doctor--version (kind file output how)
  "A finding about the syncer KIND, whose program is FILE.
It printed OUTPUT for its version, and ended as HOW says."
  (pcase-let ((`(,oldest ,tested) (cdr (assoc kind mailsync-doctor--oldest)))
              (version (and (string-match "[0-9]+\\(?:\\.[0-9]+\\)+" output)
                            (match-string 0 output))))
    (cond
     ((null version)
      (mailsync-doctor--finding
       kind "syncer" 'problem
       (format "%s does not say its version: %s" file
               (mailsync-doctor--last-line output how))
       (format "run %s --version in a shell, and mend what it says" file)))
     ((version< version oldest)
      (mailsync-doctor--finding
       kind "syncer" 'note
       (format "%s is version %s; mailsync is tested with %s" file version tested)
       (format "install a later %s, if a sync goes wrong" kind)))
     (t
      (mailsync-doctor--finding
       kind "syncer" 'ok (format "%s is version %s" file version))))))

(defun mailsync-doctor--last-line (output how)
  "The last line of OUTPUT, or else HOW the process ended."
  (or (car (last (split-string output "\n" t "[ \t\r]+")))
      (string-trim how)))

(defun mailsync-doctor--process (what command then &rest options)
  "Run COMMAND, a list of strings, and wait for WHAT.
THEN is called with what it printed and how it ended, and returns findings.
OPTIONS: `:discard' t keeps no output, but for how much it was, as a number in
its place; `:lives' t means that it need not end, and `:open' t that nothing
is to be read from its standard input, which stays open."
  (let* ((output "")
         (length 0)
         (result (lambda ()
                   (if (plist-get options :discard) length output)))
         (process nil)
         (end (mailsync-doctor--wait what mailsync-doctor--patience))
         ;; What it complains of is no password.
         (complaints (and (plist-get options :discard)
                          (make-pipe-process :name "mailsync-doctor" :buffer nil
                                             :noquery t :filter #'ignore
                                             :sentinel #'ignore)))
         (late (lambda ()
                 (if (plist-get options :lives)
                     (funcall then (funcall result) "running")
                   (funcall then (funcall result) "no end")))))
    (condition-case err
        (let ((default-directory "/")
              (process-environment (default-value 'process-environment))
              (exec-path (default-value 'exec-path)))
          (setq process
                (make-process
                 :name "mailsync-doctor" :buffer nil :command command
                 :connection-type 'pipe :noquery t :coding 'utf-8-unix
                 :stderr complaints
                 :filter (lambda (_ text)
                           (setq length (+ length (length (string-trim text))))
                           (unless (plist-get options :discard)
                             (setq output (substring
                                           (concat output text)
                                           0 (min 4000 (+ (length output)
                                                          (length text)))))))
                 :sentinel (lambda (process how)
                             (when (memq (process-status process) '(exit signal))
                               (when complaints (delete-process complaints))
                               (funcall end (funcall then (funcall result)
                                                     how))))))
          (unless (plist-get options :open)
            ;; It may have ended already.
            (ignore-errors (process-send-eof process)))
          (run-at-time mailsync-doctor--process-patience nil
                       (lambda ()
                         (when (process-live-p process)
                           (funcall end (funcall late))
                           (delete-process process)))))
      (error
       (when complaints (delete-process complaints))
       (funcall end (funcall then (funcall result)
                             (error-message-string err)))))))

;;;; Servers and passwords, which are tried when the user says so

(defun mailsync-doctor--stores ()
  "The stores on servers of all accounts: a list of (ACCOUNT . STORE)."
  (mapcan (lambda (account)
            (mapcar (lambda (store) (cons (car account) store))
                    (mailsync-remote-list
                     (plist-get (cdr account) :remote))))
          (copy-sequence mailsync-doctor--accounts)))

(defun mailsync-doctor--untried ()
  "Findings that there are servers that were not tried."
  (mapcar (pcase-lambda (`(,account . ,store))
            (mailsync-doctor--finding
             (mailsync-doctor--account account) "server" 'note
             (format "%s was not tried" (mailsync-doctor--store-name store))
             "press t to try it; you are asked before each step"
             "command mailsync-doctor-try"))
          (mailsync-doctor--stores)))

(defun mailsync-doctor--store-name (store)
  "How STORE, an element of `:remote', is called."
  (pcase store
    (`(imap . ,plist)
     (if (plist-get plist :tunnel)
         (string-join (plist-get plist :tunnel) " ")
       (format "%s, port %d" (plist-get plist :host) (mailsync-doctor--port plist))))
    (`(,_ . ,words) (string-join words " "))))

(defun mailsync-doctor--port (plist)
  "The port of the IMAP server with PLIST."
  (or (plist-get plist :port)
      (if (memq (plist-get plist :tls) '(starttls none)) 143 993)))

(defun mailsync-doctor-try ()
  "Try servers and passwords, each after asking.
Passwords are looked for, never shown or kept; to a server nothing is said."
  (interactive)
  (unless (mailsync-doctor--stores)
    (user-error "No account has a :remote to be tried"))
  (pcase-dolist (`(,account . ,store) (mailsync-doctor--stores))
    (let ((subject (mailsync-doctor--account account)))
      (pcase store
        (`(imap . ,plist)
         (mailsync-doctor--try-imap account subject plist))
        (`(watcher . ,words)
         (mailsync-doctor--try-program subject words)))))
  (mailsync-doctor--show))

(defun mailsync-doctor--tried (subject)
  "Something of SUBJECT was tried: forget that it was not."
  (setq mailsync-doctor--findings
        (seq-remove (lambda (finding)
                      (and (equal (nth 0 finding) subject)
                           (equal (nth 1 finding) "server")
                           (eq (nth 2 finding) 'note)))
                    mailsync-doctor--findings)))

(defun mailsync-doctor--try-imap (account subject plist)
  "Try the IMAP server with PLIST of ACCOUNT, which findings call SUBJECT."
  (let ((tunnel (plist-get plist :tunnel))
        (host (plist-get plist :host))
        (port (mailsync-doctor--port plist))
        (user (mailsync-imap--user plist))
        (command (or (plist-get plist :secret-command)
                     (plist-get plist :oauth-command))))
    (cond
     (tunnel (mailsync-doctor--try-program subject tunnel))
     ((and (y-or-n-p (format "Connect to %s, port %d? " host port))
           (mailsync-doctor--engine))
      (mailsync-doctor--tried subject)
      (mailsync-doctor--ask
       (format "server %s" host) (format "doctor reach %d" (cl-incf mailsync-doctor--tries))
       #'mailsync-module--reach #'mailsync-doctor--take
       (mailsync-pipe-encode-text host) port)))
    (cond
     (tunnel)
     (command
      (when (y-or-n-p (format "Run `%s' for the password? "
                              (string-join command " ")))
        (mailsync-doctor--process
         (format "the password of %s" user) command
         (lambda (length how)
           (list (mailsync-doctor--secret subject user
                                          (and (numberp length) (> length 0)
                                               (string-prefix-p "finished" how))
                                          (format "%s: %s" (car command)
                                                  (string-trim how)))))
         :discard t)))
     ((y-or-n-p (format "Look for the password of %s at %s in auth-source? "
                        user host))
      (mailsync-doctor--add
       (list (mailsync-doctor--auth-source account subject host port user)))))))

(defun mailsync-doctor--auth-source (account subject host port user)
  "A finding about the password of USER at HOST and PORT for ACCOUNT.
Findings call that SUBJECT."
  (condition-case err
      (let ((secret (mailsync-imap--search
                     host port user
                     (funcall mailsync-imap-lookup-function account) nil)))
        (prog1 (mailsync-doctor--secret
                subject user (and secret t)
                (format "auth-source has none for %s, port %d" host port))
          (when secret (clear-string secret))))
    (error
     (mailsync-doctor--secret subject user nil (error-message-string err)))))

(defun mailsync-doctor--secret (subject user found why)
  "A finding about the password of USER for SUBJECT: FOUND, or WHY not."
  (if found
      (mailsync-doctor--finding subject "password" 'ok
                                (format "there is a password of %s" user))
    (mailsync-doctor--finding
     subject "password" 'problem (format "there is no password of %s: %s" user why)
     "write it into a file of auth-sources, or correct :secret-command"
     "option auth-sources")))

(defun mailsync-doctor--try-program (subject words)
  "Try the program WORDS, which watches a server of SUBJECT."
  (when (y-or-n-p (format "Run `%s' for some seconds? " (string-join words " ")))
    (mailsync-doctor--tried subject)
    (mailsync-doctor--process
     (format "what %s says" (car words)) words
     (lambda (output how)
       (list
        (if (equal how "running")
            (mailsync-doctor--finding
             subject "server" 'ok (format "%s runs" (string-join words " ")))
          (mailsync-doctor--finding
           subject "server" 'problem
           (format "%s ended: %s" (string-join words " ")
                   (mailsync-doctor--last-line output how))
           "run it in a shell, and mend what it says; or correct :remote"
           "option mailsync-accounts"))))
     :lives t :open t)))

(provide 'mailsync-doctor)
;;; mailsync-doctor.el ends here
